//! What a transaction is made of: attempts, responses, and the places where each was seen.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use crate::base::words::{Text, ToText, text};
use crate::base::{Timestamp, Transport};
use crate::capture::{PointId, Seen};
use crate::dns::{AnswerKind, Edns, Header, Name, Opcode, Question, Rcode, Records};
use crate::packet::{Direction, IcmpKind};

use super::hops::{Hop, Hops};
use super::pattern::Vanish;
use super::timing;

/// One question from one client socket with one id: its attempts, and what came back.
#[derive(Debug, Clone)]
pub struct Transaction {
    /// The socket that asked.
    pub client: SocketAddr,
    /// The address that was asked: the service address where the capture shows it, before any
    /// translation.
    pub server: SocketAddr,
    /// UDP or TCP.
    pub transport: Transport,
    /// Transaction id.
    pub id: u16,
    /// The question.
    pub question: Question,
    /// What the query says beside its question.
    pub traits: QueryTraits,
    /// Every query datagram that was really sent, copies and legs folded, oldest first. Empty
    /// when the capture holds the response alone.
    pub attempts: SmallVec<[Attempt; 1]>,
    /// Every response, copies and legs folded, in the order of arrival.
    pub responses: SmallVec<[Response; 1]>,
    /// ICMP errors that reject one of the queries, oldest first.
    pub rejections: SmallVec<[Rejected; 0]>,
    /// The address behind [`Transaction::server`], where only the way back shows the translation:
    /// a capture behind it sees the backend asked and the service answering.
    pub translated: Option<IpAddr>,
    /// The client's address as a masquerading node shows it further on.
    pub masquerade: Option<Box<SocketAddr>>,
    /// The last instant at which the capture still watched for this transaction.
    pub watched_until: Timestamp,
    /// Whether the capture missed frames while an answer was due, so that silence proves nothing.
    pub blind: bool,
    /// What follows from all of that, once nothing changes any more: many rules ask for it.
    pub(super) settled: Option<Settled>,
}

/// What is worked out once from a whole transaction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settled {
    /// The place of the answer among the responses.
    answer: Option<u8>,
    outcome: Outcome,
    backend: Option<IpAddr>,
    infrastructure: bool,
}

/// What a query says beside its question: part of its resolver's fingerprint (rulebook 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "flags of the header, each by itself")]
pub struct QueryTraits {
    /// The EDNS payload size in bytes, if the query carries OPT.
    pub udp_size: Option<u16>,
    /// RD.
    pub recursion_desired: bool,
    /// AD.
    pub authentic_data: bool,
    /// CD.
    pub checking_disabled: bool,
    /// DO.
    pub dnssec_ok: bool,
    /// COOKIE.
    pub cookie: bool,
    /// Another opcode than QUERY: an update, a notification.
    pub other_opcode: bool,
}

impl QueryTraits {
    /// The traits of a query with this header and OPT record.
    pub fn of(header: Header, edns: Option<&Edns>) -> Self {
        Self {
            udp_size: edns.map(|edns| edns.udp_size),
            recursion_desired: header.recursion_desired(),
            authentic_data: header.authentic_data(),
            checking_disabled: header.checking_disabled(),
            dnssec_ok: edns.is_some_and(|edns| edns.dnssec_ok),
            cookie: edns.is_some_and(|edns| edns.cookie),
            other_opcode: header.opcode() != Opcode::QUERY,
        }
    }
}

/// One query datagram (or TCP message) that the client really sent.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Everywhere it was seen, in the order of its way; never empty.
    pub hops: Hops,
    /// The lower half of the message's digest: it tells apart only datagrams of one socket, id and moment.
    pub digest: u32,
    /// IPv4 identification, shared by all copies.
    pub ip_id: Option<u16>,
    /// How far it came at the client's capture point, if nothing answered it and enough healthy
    /// ones are known.
    pub vanish: Option<Box<Vanish>>,
}

impl Attempt {
    /// When the client sent it, as far as the capture shows.
    #[expect(clippy::inline_always, reason = "who looks at one field pays for no other")]
    #[inline(always)]
    pub fn sent(&self) -> Seen {
        earliest(&self.hops)
    }

    /// Its first sighting at the client's own capture point: the one where its TTL is largest, for
    /// every router on its way lowers that.
    pub fn home(&self) -> Option<Hop> {
        if self.hops.point().is_some() {
            return self.hops.first();
        }
        let nearest = self.hops.iter().rev().max_by_key(|hop| hop.via.ttl)?;
        self.hops.iter().find(|hop| hop.via.point == nearest.via.point)
    }

    /// The last place where it was seen: its vanish point, if nothing came back.
    pub fn last_hop(&self) -> Option<Hop> {
        self.hops.last()
    }

    /// What the address that was `asked` was translated to, if it was; see [`Transaction::server`]. The
    /// capture may have missed the sightings before that.
    pub fn backend(&self, asked: SocketAddr) -> Option<IpAddr> {
        self.hops.last_server_but(asked.ip())
    }
}

/// One response.
#[derive(Debug, Clone)]
pub struct Response {
    /// Everywhere it was seen, in the order of its way; never empty.
    pub hops: Hops,
    /// See [`Attempt::digest`].
    pub digest: u32,
    /// IPv4 identification, shared by all copies.
    pub ip_id: Option<u16>,
    /// The header, as on the wire.
    pub header: Header,
    /// The full response code.
    pub rcode: Rcode,
    /// What it is worth to the client.
    pub kind: AnswerKind,
    /// What its records say.
    pub records: Arc<Records>,
    /// Its OPT record.
    pub edns: Option<Edns>,
    /// See [`Response::wire_len`].
    pub(super) length: u16,
    /// Whether the question came back in the case in which it was asked.
    pub case_kept: bool,
    /// The client's own capture point, if it saw this and others did as well: what counts for the
    /// client is when it came there.
    pub home: Option<PointId>,
    /// Why it did not reach the client's socket, if the capture shows that it did not.
    pub lost: Option<Undelivered>,
    /// Whether it stopped half-way on the client's own host: it was seen there, and not at the
    /// further places that healthy responses pass (rulebook K4).
    pub stopped: bool,
    /// Which sightings show its arrival and its delivery, once all are known.
    pub(super) settled: Option<(u8, u8)>,
}

/// Why a response that was captured did not reach the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Undelivered {
    /// It was only ever seen addressed to somebody else's link address (rulebook K4).
    OtherHost,
    /// It came to the client from another address than the one that was asked.
    WrongSource,
    /// Another capture point saw it on its way; the client's own, which saw its query, never did.
    Vanished,
    /// The client's host answered it with ICMP port unreachable: the socket was closed.
    Refused,
    /// Its first fragment alone was seen, and stopped on the client's own host: the others did not come.
    /// As long as its transaction is open, that it stopped is not known.
    Incomplete,
    /// It was sent to another link address than its query came from: as long as its transaction is
    /// open, nobody knows whether that was wrong.
    Elsewhere,
}

impl Response {
    /// Length of the message in bytes: no transport carries more than 65,535.
    pub fn wire_len(&self) -> usize {
        usize::from(self.length)
    }

    /// When it reached the capture point: the client's own, where that saw it.
    #[expect(clippy::inline_always, reason = "who looks at one field pays for no other")]
    #[inline(always)]
    pub fn arrived(&self) -> Seen {
        let settled = self.settled.and_then(|(arrived, _)| self.hops.seen(arrived));
        settled.unwrap_or_else(|| self.arrival())
    }

    /// When it was last seen: nearest to its delivery.
    #[expect(clippy::inline_always, reason = "who looks at one field pays for no other")]
    #[inline(always)]
    pub fn delivered(&self) -> Seen {
        let settled = self.settled.and_then(|(_, delivered)| self.hops.seen(delivered));
        settled.unwrap_or_else(|| self.delivery())
    }

    /// When it [arrived](Self::arrived), for those who want no frame.
    #[inline]
    pub fn arrived_at(&self) -> Timestamp {
        let settled = self.settled.and_then(|(arrived, _)| self.hops.ts(arrived));
        settled.unwrap_or_else(|| self.arrival().ts)
    }

    /// When it was [delivered](Self::delivered).
    #[inline]
    pub fn delivered_at(&self) -> Timestamp {
        let settled = self.settled.and_then(|(_, delivered)| self.hops.ts(delivered));
        settled.unwrap_or_else(|| self.delivery().ts)
    }

    fn settle(&mut self) {
        let at = |seen| self.hops.place(seen);
        self.settled = match self.home {
            None => self.hops.ends(),
            Some(_) => at(self.arrival()).zip(at(self.delivery())),
        };
    }

    #[inline(never)]
    fn arrival(&self) -> Seen {
        match self.home {
            None => earliest(&self.hops),
            Some(_) => self.at_home().min().unwrap_or_else(|| earliest(&self.hops)),
        }
    }

    #[inline(never)]
    fn delivery(&self) -> Seen {
        self.at_home().max().unwrap_or_else(|| self.arrival())
    }

    fn at_home(&self) -> impl Iterator<Item = Seen> {
        let here = |hop: &Hop| self.home.is_none_or(|home| hop.via.point == home);
        self.hops.iter().filter(here).map(|hop| hop.seen)
    }

    /// Whether nothing speaks against its having reached the client's socket.
    pub fn reached(&self) -> bool {
        self.lost.is_none() && !self.stopped
    }

    /// Whether the client's own capture point never saw it, though another one did.
    pub fn vanished(&self) -> bool {
        self.lost == Some(Undelivered::Vanished)
    }

    /// Whether its first fragment alone came to the client's host.
    pub fn is_incomplete(&self) -> bool {
        self.lost == Some(Undelivered::Incomplete)
    }

    /// The address it was first seen coming from: the backend, where translation is visible.
    pub fn origin(&self) -> Option<IpAddr> {
        self.hops.first().map(|hop| hop.server)
    }
}

/// An ICMP error that rejects a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejected {
    /// The first frame of it.
    pub seen: Seen,
    /// What it says.
    pub kind: IcmpKind,
    /// Who said it, as written in its first copy (before un-NAT).
    pub from: IpAddr,
    /// The server address in its first copy's quote.
    pub server: IpAddr,
}

/// How a transaction ended (rulebook section 0).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Data in time.
    Ok,
    /// NXDOMAIN or NODATA in time.
    Negative,
    /// Another response code in time.
    Error(Rcode),
    /// TC in time.
    Truncated,
    /// The first response came after the client had given this socket up.
    Late,
    /// An ICMP error ended it.
    Rejected(IcmpKind),
    /// Nothing came while the capture watched.
    Timeout,
    /// The capture cannot tell.
    Unknown,
}

impl ToText for Outcome {
    fn to_text(&self) -> Text {
        match self {
            Self::Ok => text!("ok"),
            Self::Negative => text!("negative"),
            Self::Error(_) => text!("error"),
            Self::Truncated => text!("truncated"),
            Self::Late => text!("late"),
            Self::Rejected(_) => text!("icmp-rejected"),
            Self::Timeout => text!("timeout"),
            Self::Unknown => text!("unknown"),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl Outcome {
    /// The word of the rulebook and of `dnswhy transactions`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Negative => "negative",
            Self::Error(_) => "error",
            Self::Truncated => "truncated",
            Self::Late => "late",
            Self::Rejected(_) => "icmp-rejected",
            Self::Timeout => "timeout",
            Self::Unknown => "unknown",
        }
    }

    /// Whether the server was reached and answered in time, whatever it said.
    pub fn is_answered(self) -> bool {
        matches!(self, Self::Ok | Self::Negative | Self::Error(_) | Self::Truncated)
    }
}

impl Transaction {
    /// One of which nothing was seen yet.
    pub(super) fn new(
        (client, server): (SocketAddr, SocketAddr),
        transport: Transport,
        id: u16,
        question: Question,
    ) -> Self {
        Self {
            client,
            server,
            transport,
            id,
            question,
            traits: QueryTraits::default(),
            attempts: SmallVec::new(),
            responses: SmallVec::new(),
            rejections: SmallVec::new(),
            translated: None,
            masquerade: None,
            watched_until: Timestamp::MIN,
            blind: false,
            settled: None,
        }
    }

    /// Notes that nothing of it will change any more.
    pub(super) fn settle(&mut self) {
        self.settled = None;
        self.responses.iter_mut().for_each(Response::settle);
        let place = self.deadline().and_then(|deadline| self.answer_until(deadline));
        let answer = place.and_then(|place| self.responses.get(place));
        self.settled = Some(Settled {
            answer: place.and_then(|place| u8::try_from(place).ok()),
            outcome: self.outcome_with(answer),
            backend: self.behind(),
            infrastructure: self.serves_no_application(),
        });
    }

    /// The first frame of it, query or (where the query is missing) response.
    #[expect(clippy::inline_always, reason = "who looks at one field pays for no other")]
    #[inline(always)]
    pub fn first(&self) -> Seen {
        match self.attempts.first() {
            Some(attempt) => attempt.sent(),
            None => self.first_response(),
        }
    }

    #[cold]
    fn first_response(&self) -> Seen {
        self.responses.first().map_or_else(unreachable_seen, Response::arrived)
    }

    /// The client's own capture point, as far as its queries show it.
    pub fn home(&self) -> Option<PointId> {
        self.attempts.first().and_then(Attempt::home).map(|hop| hop.via.point)
    }

    /// When the client sent its last attempt.
    #[expect(clippy::inline_always, reason = "who looks at one field pays for no other")]
    #[inline(always)]
    pub fn last_sent(&self) -> Option<Seen> {
        self.attempts.last().map(Attempt::sent)
    }

    /// When the client had last sent it before `instant`; its first sending if it had not.
    pub fn last_sent_before(&self, instant: Timestamp) -> Timestamp {
        let sent = self.attempts.iter().map(|attempt| attempt.sent().ts);
        sent.filter(|at| *at < instant).max().unwrap_or_else(|| self.first().ts)
    }

    /// The first response that reached the client's socket before the client gave it up, and
    /// the one its resolver went by.
    #[inline]
    pub fn answer(&self) -> Option<&Response> {
        self.responses.get(self.answer_place()?)
    }

    #[inline]
    fn answer_place(&self) -> Option<usize> {
        match &self.settled {
            Some(settled) => settled.answer.map(usize::from),
            None => self.answer_until(self.deadline()?),
        }
    }

    fn answer_until(&self, deadline: Timestamp) -> Option<usize> {
        let in_time =
            |response: &Response| response.lost.is_none() && response.arrived().ts <= deadline;
        self.responses.iter().position(in_time)
    }

    /// Until when the client listened on this socket, by the spacing of its own attempts.
    #[inline]
    pub fn deadline(&self) -> Option<Timestamp> {
        timing::deadline(&self.attempts)
    }

    /// Time from the first attempt to the arrival of the answer.
    #[inline]
    pub fn latency(&self) -> Option<Duration> {
        Some(self.answer()?.delivered_at().since(self.attempts.first()?.sent().ts))
    }

    /// The latency, where it is beyond doubt which attempt was answered (rulebook 4.7).
    pub fn server_latency(&self) -> Option<Duration> {
        (self.attempts.len() == 1).then(|| self.latency()).flatten()
    }

    /// How it ended.
    #[inline]
    pub fn outcome(&self) -> Outcome {
        match &self.settled {
            Some(settled) => settled.outcome,
            None => self.outcome_with(self.answer()),
        }
    }

    fn outcome_with(&self, answer: Option<&Response>) -> Outcome {
        if let Some(answer) = answer {
            return match answer.kind {
                AnswerKind::Positive => Outcome::Ok,
                AnswerKind::NxDomain | AnswerKind::NoData => Outcome::Negative,
                AnswerKind::Truncated => Outcome::Truncated,
                AnswerKind::Error(rcode) => Outcome::Error(rcode),
                AnswerKind::Unknown => Outcome::Unknown,
            };
        }
        let Some(last) = self.last_sent() else {
            return Outcome::Unknown;
        };
        if let Some(rejected) = self.rejections.first() {
            return Outcome::Rejected(rejected.kind);
        }
        if self.responses.iter().any(|r| matches!(r.lost, None | Some(Undelivered::Refused))) {
            return Outcome::Late;
        }
        let watched = self.watched_until.since(last.ts);
        if self.blind || watched < timing::patience(&self.attempts) {
            return Outcome::Unknown;
        }
        Outcome::Timeout
    }

    /// The server behind the service address, wherever one of its datagrams shows it.
    #[inline]
    pub fn backend(&self) -> Option<IpAddr> {
        match &self.settled {
            Some(settled) => settled.backend,
            None => self.behind(),
        }
    }

    fn behind(&self) -> Option<IpAddr> {
        if self.translated.is_some() {
            return self.translated;
        }
        let backend = |attempt: &Attempt| attempt.backend(self.server);
        let origin = || {
            let origin = self.responses.first()?.origin()?;
            (origin != self.server.ip()).then_some(origin)
        };
        // A repeat may go elsewhere; where an earlier one went says nothing of who answered.
        let earlier = || {
            let silent = self.responses.is_empty();
            self.attempts.iter().rev().skip(1).find_map(backend).filter(|_| silent)
        };
        self.attempts.last().and_then(backend).or_else(origin).or_else(earlier)
    }

    /// The address that stands for "the server" in tallies: the backend where it is known,
    /// else the address that was asked.
    #[inline]
    pub fn responder(&self) -> IpAddr {
        self.backend().unwrap_or(self.server.ip())
    }

    /// Whether the client asked again although an answer had reached it.
    pub fn requeried_after_answer(&self) -> bool {
        if self.attempts.len() < 2 {
            return false;
        }
        let Some(answer) = self.answer() else {
            return false;
        };
        let answered = answer.delivered().ts;
        matches!(answer.kind, AnswerKind::Positive | AnswerKind::NxDomain | AnswerKind::NoData)
            && self.attempts.iter().any(|attempt| attempt.sent().ts > answered)
    }

    /// Traffic that no application waits for: health probes, CHAOS, loop detection, zone transfers,
    /// updates (rulebook 4.10, K9, 8.21).
    #[inline]
    pub fn is_infrastructure(&self) -> bool {
        self.settled.as_ref().map_or_else(|| self.serves_no_application(), |s| s.infrastructure)
    }

    fn serves_no_application(&self) -> bool {
        use crate::dns::RecordType;
        const IN: u16 = 1;
        /// IXFR (RFC 1995) and AXFR (RFC 5936).
        const TRANSFERS: [RecordType; 2] = [RecordType(251), RecordType(252)];
        let Question { name, rtype, class } = &self.question;
        *class != IN
            || self.traits.other_opcode
            || TRANSFERS.contains(rtype)
            || (name.is_root() && *rtype == RecordType::NS)
            || (*rtype == RecordType::HINFO && is_loop_probe(name))
    }
}

/// The CoreDNS loop plugin asks HINFO for `<int>.<int>.<zone>` at its start (rulebook K9).
fn is_loop_probe(name: &Name) -> bool {
    let mut labels = name.labels();
    let mut number = || {
        labels.next().is_some_and(|label| label.len() > 5 && label.iter().all(u8::is_ascii_digit))
    };
    number() && number()
}

#[expect(clippy::inline_always, reason = "who looks at one field pays for no other")]
#[inline(always)]
fn earliest(hops: &Hops) -> Seen {
    hops.earliest().unwrap_or_else(unreachable_seen)
}

/// What an empty list of hops would answer; the matcher never makes one.
#[cold]
fn unreachable_seen() -> Seen {
    use crate::capture::{FileId, FrameRef};
    Seen { ts: Timestamp::MIN, at: FrameRef::new(FileId(0), 0) }
}

/// Whether hops show a datagram that was only ever addressed to another link address, at the
/// client's own capture point where it came there.
pub(super) fn only_other_host(hops: &Hops, home: PointId) -> bool {
    let at_home = hops.is_seen_at(home);
    let mut hops = hops.iter().filter(|hop| !at_home || hop.via.point == home);
    hops.all(|hop| hop.via.direction == Some(Direction::OtherHost))
}
