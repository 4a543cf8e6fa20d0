//! The account of what was read: nothing is skipped without a count.
//!
//! Every layer adds to one [`Coverage`]; the report prints it. The identity
//! `frames = dns_frames + not_dns + undecodable(by reason)` holds for every input.

use super::text::{Text, text};
use std::collections::BTreeMap;

/// Counters of frames, messages and skips over the whole input.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Frames read from all files.
    pub frames: u64,
    /// Frames in which at least one DNS message ended.
    pub dns_frames: u64,
    /// Frames that were understood and carry no DNS message's end.
    pub not_dns: u64,
    /// Frames that could not be understood, by reason.
    pub undecodable: BTreeMap<String, u64>,
    /// DNS messages as observed, copies and all.
    pub messages: MessageCounts,
    /// Further sightings of datagrams already seen, with unchanged addresses.
    pub copies: u64,
    /// Further sightings of datagrams already seen, with translated addresses.
    pub nat_copies: u64,
    /// Frames captured shorter than they were on the wire.
    pub cut_frames: u64,
    /// UDP datagrams on a DNS port, captured whole, that hold no DNS message, or one that breaks
    /// off; copies count.
    pub garbled: u64,
    /// Bytes of TCP streams that were never captured, so that messages may be missing.
    pub lost_stream_bytes: u64,
    /// Messages with another opcode than QUERY, by mnemonic.
    pub opcodes: BTreeMap<String, u64>,
    /// Caps that were reached, and how often.
    pub limits: BTreeMap<Limit, u64>,
}

impl Coverage {
    /// Counts one frame that could not be understood.
    pub fn undecodable(&mut self, reason: &str) {
        if let Some(count) = self.undecodable.get_mut(reason) {
            *count += 1;
        } else {
            self.undecodable.insert(reason.to_owned(), 1);
        }
    }

    /// Counts one thing that a cap kept out.
    pub fn limited(&mut self, limit: Limit) {
        *self.limits.entry(limit).or_default() += 1;
    }

    /// Adds another account to this one.
    pub fn absorb(&mut self, other: &Self) {
        self.frames += other.frames;
        self.dns_frames += other.dns_frames;
        self.not_dns += other.not_dns;
        for (reason, count) in &other.undecodable {
            *self.undecodable.entry(reason.clone()).or_default() += count;
        }
        self.messages.absorb(&other.messages);
        self.copies += other.copies;
        self.nat_copies += other.nat_copies;
        self.cut_frames += other.cut_frames;
        self.garbled += other.garbled;
        self.lost_stream_bytes += other.lost_stream_bytes;
        for (opcode, count) in &other.opcodes {
            *self.opcodes.entry(opcode.clone()).or_default() += count;
        }
        for (limit, count) in &other.limits {
            *self.limits.entry(*limit).or_default() += count;
        }
    }

    /// Whether every frame is accounted for.
    pub fn adds_up(&self) -> bool {
        self.frames == self.dns_frames + self.not_dns + self.undecodable.values().sum::<u64>()
    }
}

/// DNS messages as Wireshark's dissector counts them: every sighting of every message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MessageCounts {
    /// All messages.
    pub total: u64,
    /// Messages over UDP.
    pub udp: u64,
    /// Messages over TCP.
    pub tcp: u64,
    /// Messages with QR = 0.
    pub queries: u64,
    /// Messages with QR = 1.
    pub responses: u64,
    /// Responses by the four bits of the header's RCODE.
    pub rcodes: [u64; 16],
    /// NOERROR responses whose header counts no answer.
    pub nodata: u64,
    /// Responses with TC = 1.
    pub truncated: u64,
    /// Messages that the capture cut before the end of their question: nobody knows what they are about.
    pub cut_questions: u64,
}

impl MessageCounts {
    fn absorb(&mut self, other: &Self) {
        self.total += other.total;
        self.udp += other.udp;
        self.tcp += other.tcp;
        self.queries += other.queries;
        self.responses += other.responses;
        for (mine, theirs) in self.rcodes.iter_mut().zip(other.rcodes) {
            *mine += theirs;
        }
        self.nodata += other.nodata;
        self.truncated += other.truncated;
        self.cut_questions += other.cut_questions;
    }
}

/// A cap on what is kept. Reaching one is counted and reported, never silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Limit {
    /// Fragments waiting for the rest of their datagram.
    Fragments,
    /// TCP connections followed at the same time.
    Connections,
    /// Bytes of one TCP stream waiting for a missing segment.
    StreamBytes,
    /// Transactions open at the same time.
    OpenTransactions,
    /// Repeats of one message that are kept.
    Repeats,
    /// Lookups open at the same time.
    OpenLookups,
    /// Flows watched for more at the same time.
    Flows,
    /// Names tallied one by one.
    Names,
    /// Clients tallied one by one.
    Clients,
    /// Servers tallied one by one.
    Servers,
    /// Questions of servers to their upstreams that are kept one by one.
    Legs,
    /// Harmed lookups kept for attribution.
    HarmedLookups,
}

impl Limit {
    /// What was kept out, for the report.
    pub fn describe(self) -> Text {
        match self {
            Self::Fragments => text!("IP fragments dropped before their datagram was whole"),
            Self::Connections => text!("TCP connections no longer followed"),
            Self::StreamBytes => text!("TCP streams that waited too long for a missing segment"),
            Self::OpenTransactions => text!("transactions closed early"),
            Self::Repeats => text!("further repeats of one message left out"),
            Self::OpenLookups => text!("lookups closed early"),
            Self::Flows => text!("flows closed early"),
            Self::Names => text!("counts of further names left to the totals"),
            Self::Clients => text!("counts of further clients left to the totals"),
            Self::Servers => text!("counts of further servers left to the totals"),
            Self::Legs => text!("questions of servers to their upstreams left out"),
            Self::HarmedLookups => text!("harmed lookups counted only in the totals"),
        }
    }
}
