//! What one frame is by itself, and by what it can be tied to a lookup.

use std::net::{IpAddr, SocketAddr};

use crate::base::words::{Text, plain, text};
use crate::base::{FiveTuple, Timestamp, Transport};
use crate::capture::{Frame, FrameRef, PointId};
use crate::dns::{Message, NameCache, Question, parse};
use crate::flow::Ports;
use crate::lookup::{Lookup, Sent};
use crate::packet::{Body, Datagram, Fragment, IcmpError, Packet, TcpSegment, decode};
use crate::transaction::{TcpAttempt, Transaction, timing};

/// A frame, looked at by itself.
#[derive(Debug, Clone)]
pub struct Sight {
    /// Which one.
    pub at: FrameRef,
    /// When it was captured.
    pub ts: Timestamp,
    /// What it is, in words.
    pub what: Text,
    /// The question that it holds, if it is a DNS message.
    pub question: Option<Question>,
    /// What ties it to a lookup beside its number.
    pub tie: Option<Tie>,
}

/// What ties a frame to a lookup that does not hold the frame itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tie {
    /// The client's socket, and the DNS id where it shows.
    Socket {
        /// UDP or TCP.
        transport: Transport,
        /// The side that asks.
        client: SocketAddr,
        /// DNS id.
        id: Option<u16>,
    },
    /// A piece of a datagram, which shows no ports.
    Piece {
        /// From whom to whom, in either direction.
        ends: [IpAddr; 2],
        /// Its identification.
        ip_id: u32,
    },
}

/// How much time may lie between a frame and the lookup that it is tied to: a connection's or a
/// socket's life after the last thing that is known of it.
const NEAR: std::time::Duration = timing::T_KEEP;

impl Sight {
    /// Looks at `frame`.
    pub fn of(frame: &Frame<'_>, point: PointId, ports: &Ports) -> Self {
        let mut sight = Self {
            at: frame.seen.at,
            ts: frame.seen.ts,
            what: Text::EMPTY,
            question: None,
            tie: None,
        };
        if !frame.link.carries_packets() {
            sight.what = text!("a record without a packet: notes of the program that captured");
            return sight;
        }
        match decode(frame, point) {
            Err(skip) => sight.what = text!("not understood: {skip}", skip),
            Ok(packet) => sight.packet(&packet, ports),
        }
        if frame.is_cut() {
            let held = frame.bytes.len();
            sight.what.push(text!(
                "; the snap length kept {held} of its {wire_len} bytes",
                held,
                wire_len = frame.wire_len
            ));
        }
        sight
    }

    fn packet(&mut self, packet: &Packet<'_>, ports: &Ports) {
        match (&packet.body, packet.tuple()) {
            (Body::Udp(datagram), Some(tuple)) => self.datagram(datagram, tuple, ports),
            (Body::Tcp(segment), Some(tuple)) => self.segment(segment, tuple, ports),
            (Body::Icmp(error), _) => self.icmp(packet.src, error, ports),
            (Body::Fragment(piece), _) => self.fragment(packet, piece),
            _ => {
                let (src, dst) = (packet.src, packet.dst);
                self.what = text!(
                    "{src} -> {dst}: nothing that DNS travels in (no UDP, TCP or ICMP error)",
                    src,
                    dst
                );
            }
        }
        if packet.via.tunnels > 0 {
            self.what.push(text!(", inside {tunnels} outer headers", tunnels = packet.via.tunnels));
        }
    }

    fn datagram(&mut self, datagram: &Datagram<'_>, tuple: FiveTuple, ports: &Ports) {
        if !ports.concern(datagram.src_port, datagram.dst_port) {
            self.what =
                text!("{tuple}: neither side is a DNS port (`--port` names further ones)", tuple);
            return;
        }
        let message = parse(datagram.payload, datagram.wire_len, &mut NameCache::new());
        let Some(message) = message.filter(Message::is_plausible) else {
            self.what = text!("{tuple}: on a DNS port, and no DNS message", tuple);
            return;
        };
        self.message(&message, tuple, ports);
    }

    fn message(&mut self, message: &Message, tuple: FiveTuple, ports: &Ports) {
        let is_response = message.header.is_response();
        let kind = if is_response { text!("response") } else { text!("query") };
        let asked = message.question.as_ref().map_or_else(
            || text!("without a question"),
            |question| text!("{rtype} {name}", rtype = question.rtype, name = question.name),
        );
        let code =
            if is_response { text!(", {rcode}", rcode = message.rcode()) } else { Text::EMPTY };
        self.what = text!(
            "{tuple}: DNS {kind}, id {id}, {asked}{code}",
            tuple,
            kind,
            id = format_args!("{:04x}", message.header.id),
            asked,
            code
        );
        self.question.clone_from(&message.question);
        let to_server = ports.to_server(&tuple, is_response);
        self.tie = Some(Tie::Socket {
            transport: tuple.transport,
            client: if to_server { tuple.src } else { tuple.dst },
            id: Some(message.header.id),
        });
    }

    fn segment(&mut self, segment: &TcpSegment<'_>, tuple: FiveTuple, ports: &Ports) {
        if !ports.concern(segment.src_port, segment.dst_port) {
            self.what =
                text!("{tuple}: neither side is a DNS port (`--port` names further ones)", tuple);
            return;
        }
        let flags: Vec<&str> = [
            (segment.syn, "SYN"),
            (segment.fin, "FIN"),
            (segment.rst, "RST"),
            (segment.has_ack, "ACK"),
        ]
        .into_iter()
        .filter_map(|(set, name)| set.then_some(name))
        .collect();
        let length = segment.wire_len;
        let content = if length == 0 {
            text!("without payload")
        } else {
            text!("{length} bytes of a stream of DNS messages", length)
        };
        self.what = text!(
            "{tuple}: TCP segment {flags}, {content}",
            tuple,
            flags = plain(flags.join("+")),
            content
        );
        let to_server = ports.contains(segment.dst_port);
        self.tie = Some(Tie::Socket {
            transport: Transport::Tcp,
            client: if to_server { tuple.src } else { tuple.dst },
            id: None,
        });
    }

    fn icmp(&mut self, from: IpAddr, error: &IcmpError<'_>, ports: &Ports) {
        let quoted = error.quoted;
        self.what = text!(
            "ICMP error from {from}: {kind}, about {quoted}",
            from,
            kind = error.kind,
            quoted
        );
        let id = match (quoted.transport, error.payload) {
            (Transport::Udp, &[high, low, ..]) => Some(u16::from_be_bytes([high, low])),
            _ => None,
        };
        if ports.concern(quoted.src.port(), quoted.dst.port()) {
            let to_server = ports.contains(quoted.dst.port());
            let client = if to_server { quoted.src } else { quoted.dst };
            self.tie = Some(Tie::Socket { transport: quoted.transport, client, id });
        }
    }

    fn fragment(&mut self, packet: &Packet<'_>, piece: &Fragment<'_>) {
        let (src, dst) = (packet.src, packet.dst);
        let more = if piece.more { text!("more follow") } else { text!("the last one") };
        self.what = text!(
            "{src} -> {dst}: fragment of an IP datagram at byte {offset} ({more}); its ports are \
             in the first one",
            src,
            dst,
            offset = piece.offset,
            more
        );
        self.tie = Some(Tie::Piece { ends: [src, dst], ip_id: piece.id });
    }

    /// How close `lookup` is to this frame: zero if the frame is one of its own, else the time
    /// between them if they are tied, else nothing.
    pub fn distance(&self, lookup: &Lookup) -> Option<std::time::Duration> {
        lookup
            .steps
            .iter()
            .filter_map(|step| match &step.sent {
                Sent::Question(asked) => self.to_question(asked),
                Sent::Connect(connect) => self.to_connection(connect),
            })
            .min()
    }

    /// As [`Sight::distance`], for one transaction.
    pub fn to_question(&self, asked: &Transaction) -> Option<std::time::Duration> {
        if frames(asked).any(|at| at == self.at) {
            return Some(std::time::Duration::ZERO);
        }
        let tied = match self.tie? {
            Tie::Socket { transport, client, id } => {
                asked.transport == transport
                    && (asked.client == client || asked.masquerade.as_deref() == Some(&client))
                    && id.is_none_or(|id| id == asked.id)
            }
            Tie::Piece { ends, ip_id } => datagrams(asked).any(|(hop_ends, id)| {
                let same = hop_ends == ends || [hop_ends[1], hop_ends[0]] == ends;
                same && id.map(u32::from) == Some(ip_id)
            }),
        };
        tied.then(|| self.away(asked.first().ts, asked.watched_until)).flatten()
    }

    fn to_connection(&self, connect: &TcpAttempt) -> Option<std::time::Duration> {
        let frames = connect.hops.iter().map(|hop| hop.seen.at);
        if frames.chain(connect.reset.map(|(seen, _)| seen.at)).any(|at| at == self.at) {
            return Some(std::time::Duration::ZERO);
        }
        let Some(Tie::Socket { transport: Transport::Tcp, client, .. }) = self.tie else {
            return None;
        };
        let tied = connect.client == client;
        tied.then(|| self.away(connect.first().ts, connect.watched_until)).flatten()
    }

    /// How long after `start` this was, if not before it (within the disorder of a capture) nor
    /// long after `end`. Never zero: only a frame of its own is that close.
    fn away(&self, start: Timestamp, end: Timestamp) -> Option<std::time::Duration> {
        let near = self.ts.after(timing::DISORDER) >= start && self.ts <= end.after(NEAR);
        near.then(|| self.ts.since(start).max(std::time::Duration::from_nanos(1)))
    }
}

/// Every frame that a transaction was seen in.
fn frames(asked: &Transaction) -> impl Iterator<Item = FrameRef> {
    let attempts = asked.attempts.iter().flat_map(|attempt| &attempt.hops);
    let responses = asked.responses.iter().flat_map(|response| &response.hops);
    let errors = asked.rejections.iter().map(|rejected| rejected.seen.at);
    attempts.chain(responses).map(|hop| hop.seen.at).chain(errors)
}

/// Ends and identification of every sighting.
fn datagrams(asked: &Transaction) -> impl Iterator<Item = ([IpAddr; 2], Option<u16>)> {
    let attempts = asked.attempts.iter().map(|attempt| (&attempt.hops, attempt.ip_id));
    let responses = asked.responses.iter().map(|response| (&response.hops, response.ip_id));
    attempts.chain(responses).flat_map(move |(hops, ip_id)| {
        hops.iter().map(move |hop| ([hop.client, hop.server], ip_id))
    })
}
