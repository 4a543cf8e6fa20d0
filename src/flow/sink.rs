//! Where the flow table's events go, and how messages are counted on the way.

use std::sync::Arc;

use super::framer::Piece;
use super::{CapturedMessage, FlowEvent, Ports, Rejection, Signal, SignalKind};
use crate::base::{Coverage, FiveTuple, Transport};
use crate::dns::{Malformed, Message, NameCache, Opcode, Rcode, parse};
use crate::packet::{IcmpError, Packet, TcpSegment};

/// The account and the receiver of events.
pub(super) struct Sink<'a, F> {
    pub(super) coverage: &'a mut Coverage,
    pub(super) next: &'a mut F,
}

impl<F: FnMut(FlowEvent, &mut Coverage)> Sink<'_, F> {
    /// Counts a message and hands it on.
    pub(super) fn message(&mut self, message: CapturedMessage) {
        count(self.coverage, &message.message, message.tuple.transport, 1);
        (self.next)(FlowEvent::Message(message), self.coverage);
    }

    /// Hands on what is no message.
    pub(super) fn event(&mut self, event: FlowEvent) {
        (self.next)(event, self.coverage);
    }
}

/// The message of a piece of a stream. What is shorter than a header is none, though its length
/// was right.
pub(super) fn read_piece(
    tuple: &FiveTuple,
    piece: &Piece<'_>,
    names: &mut NameCache,
) -> Option<CapturedMessage> {
    Some(CapturedMessage {
        seen: piece.stamp.seen,
        via: piece.stamp.via,
        tuple: *tuple,
        message: Arc::new(parse(piece.bytes, piece.wire_len, names)?),
    })
}

/// Counts so many observations of a message, each as Wireshark's dissector would.
pub(super) fn count(
    coverage: &mut Coverage,
    message: &Message,
    transport: Transport,
    sightings: u64,
) {
    let (header, counts) = (message.header, &mut coverage.messages);
    let where_it_is = |is: bool| if is { sightings } else { 0 };
    counts.total += sightings;
    match transport {
        Transport::Udp => counts.udp += sightings,
        Transport::Tcp => counts.tcp += sightings,
    }
    if header.is_response() {
        counts.responses += sightings;
        if let Some(rcode) = counts.rcodes.get_mut(usize::from(header.rcode().0)) {
            *rcode += sightings;
        }
        counts.nodata += where_it_is(header.rcode() == Rcode::NOERROR && header.answers == 0);
        counts.truncated += where_it_is(header.truncated());
    } else {
        counts.queries += sightings;
    }
    let cut = message.question.is_none() && header.questions > 0;
    counts.cut_questions += where_it_is(cut && message.stop == Some(Malformed::Cut));
    if header.opcode() != Opcode::QUERY {
        count_opcode(coverage, header.opcode(), sightings);
    }
}

#[cold]
fn count_opcode(coverage: &mut Coverage, opcode: Opcode, sightings: u64) {
    *coverage.opcodes.entry(opcode.to_string()).or_default() += sightings;
}

/// What a segment does to its connection, if anything.
pub(super) fn signal(
    packet: &Packet<'_>,
    segment: &TcpSegment<'_>,
    tuple: &FiveTuple,
    ports: &Ports,
) -> Option<Signal> {
    let kind = match (segment.syn, segment.has_ack, segment.rst, segment.fin) {
        (_, _, true, _) => SignalKind::Reset { by_server: ports.contains(segment.src_port) },
        (true, false, ..) => SignalKind::Syn(segment.seq),
        (true, true, ..) => SignalKind::Accepted,
        (_, _, _, true) => SignalKind::Closed,
        _ => return None,
    };
    let from_server = match kind {
        SignalKind::Syn(_) => false,
        SignalKind::Accepted => true,
        _ => ports.contains(segment.src_port),
    };
    let tuple = if from_server { tuple.reversed() } else { *tuple };
    Some(Signal { seen: packet.seen, via: packet.via, tuple, kind })
}

/// An ICMP error, and what its quotation says of the message that it rejects.
pub(super) fn rejection(packet: &Packet<'_>, error: &IcmpError<'_>) -> Rejection {
    let message = match (error.quoted.transport, error.payload) {
        (Transport::Udp, &[high, low, flags, ..]) => {
            Some((u16::from_be_bytes([high, low]), flags & 0x80 != 0))
        }
        // A quoted TCP segment does not say whether a message begins in it.
        _ => None,
    };
    Rejection {
        seen: packet.seen,
        via: packet.via,
        from: packet.src,
        to: packet.dst,
        kind: error.kind,
        quoted: error.quoted,
        message,
    }
}
