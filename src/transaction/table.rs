//! What is open: transactions and connections in the order of their first frames, and by socket.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::Range;

use smallvec::SmallVec;

use super::connect::TcpAttempt;
use super::folded::Folded;
use super::index::Index;
use super::model::Transaction;
use crate::base::{Map, Timestamp, Transport, halves, push_back};

/// How many transactions are open at once: those of 30 s on a node with 4 000 a second. Beyond that
/// the oldest are closed before their 30 s are over, which changes nothing for the answered ones.
const MAX_OPEN: usize = 1 << 17;
/// What their further attempts, responses and sightings may take, in bytes: as many as they are,
/// ten sightings each.
const MAX_HELD: usize = 96 << 20;

/// Entries of one key that are listed, the latest ones: a flood of questions from one socket with
/// one id costs no more than this each.
const MAX_ALIKE: usize = 64;

/// Serial numbers of open entries, the oldest first.
pub(super) type Candidates = SmallVec<[u64; 2]>;

/// The client's end of a transaction or connection, made to be hashed and compared in few steps:
/// every message is looked up by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct SocketKey {
    address: [u64; 2],
    /// Port, transaction id, and what kind of key it is.
    rest: u64,
}

impl SocketKey {
    /// What a client's messages with this transaction id are listed under.
    pub(super) fn of_messages(transport: Transport, client: SocketAddr, id: u16) -> Self {
        Self::new(client, id, u64::from(transport == Transport::Tcp))
    }

    /// What a client's TCP connections are listed under.
    pub(super) fn of_connections(client: SocketAddr) -> Self {
        Self::new(client, 0, 2)
    }

    fn new(client: SocketAddr, id: u16, kind: u64) -> Self {
        let kind = kind << 1 | u64::from(client.is_ipv6());
        let rest = kind << 32 | u64::from(client.port()) << 16 | u64::from(id);
        Self { address: halves(client.ip()), rest }
    }
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) item: Item,
    pub(super) last_activity: Timestamp,
    /// Bytes beyond its own size.
    held: u32,
}

#[derive(Debug)]
pub(super) enum Item {
    /// One of which more may be seen.
    Transaction(Box<Transaction>),
    /// One that was answered and only waits.
    Folded(Box<Folded>),
    Connect(Box<TcpAttempt>),
}

impl Item {
    /// What it is listed under by itself.
    fn key(&self) -> SocketKey {
        match self {
            Self::Transaction(asked) => {
                SocketKey::of_messages(asked.transport, asked.client, asked.id)
            }
            Self::Folded(folded) => {
                SocketKey::of_messages(Transport::Udp, folded.client(), folded.id())
            }
            Self::Connect(connect) => SocketKey::of_connections(connect.client),
        }
    }

    /// The transaction, if it is one; unfolded, if it was not.
    #[inline]
    pub(super) fn transaction(&mut self) -> Option<&mut Transaction> {
        if let Self::Folded(folded) = self {
            *self = Self::Transaction(Box::new(folded.as_ref().clone().unfold()));
        }
        match self {
            Self::Transaction(transaction) => Some(transaction),
            Self::Folded(_) | Self::Connect(_) => None,
        }
    }

    /// Folds an answered transaction, of which nothing more is expected.
    pub(super) fn fold(&mut self) {
        if let Self::Transaction(transaction) = self
            && let Some(folded) = Folded::of(transaction)
        {
            *self = Self::Folded(folded);
        }
    }
}

/// Open entries, bounded in number and in bytes.
#[derive(Debug, Default)]
pub(super) struct Table {
    entries: VecDeque<Entry>,
    /// Serial number of the first of `entries`.
    base: u64,
    /// Sum of what the entries hold beyond their size, in bytes.
    held: usize,
    index: Index,
    /// Keys that entries are listed under beside their own, by serial number: hardly any is.
    also: Map<u64, Vec<SocketKey>>,
}

impl Table {
    /// The entry that began first.
    pub(super) fn first(&self) -> Option<&Entry> {
        self.entries.front()
    }

    /// Whether something has to be closed before its time.
    pub(super) fn is_full(&self) -> bool {
        self.entries.len() >= MAX_OPEN || self.held > MAX_HELD
    }

    /// Takes out the entry that began first.
    pub(super) fn pop(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        if !self.also.is_empty() {
            self.also.remove(&self.base);
        }
        self.base += 1;
        self.held = self.held.saturating_sub(entry.held as usize);
        Some(entry)
    }

    /// The entry with this serial number.
    pub(super) fn entry(&mut self, serial: u64) -> Option<&mut Entry> {
        let index = usize::try_from(serial.checked_sub(self.base)?).ok()?;
        self.entries.get_mut(index)
    }

    fn get(&self, serial: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(serial.checked_sub(self.base)?).ok()?)
    }

    /// The serial numbers of all that are open.
    fn open_serials(&self) -> Range<u64> {
        self.base..self.base + self.entries.len() as u64
    }

    /// The entries that are listed under a key, the oldest first.
    #[inline]
    pub(super) fn candidates(&self, key: &SocketKey) -> Candidates {
        let mut serials = Candidates::new();
        for serial in self.index.listed(key, self.open_serials()) {
            if self.get(serial).is_some_and(|entry| entry.item.key() == *key)
                || self.is_also_of(serial, key)
            {
                serials.push(serial);
            }
        }
        if serials.len() > 1 {
            serials.sort_unstable();
        }
        serials
    }

    /// Whether an entry is listed under this key beside its own.
    fn is_also_of(&self, serial: u64, key: &SocketKey) -> bool {
        !self.also.is_empty() && self.also.get(&serial).is_some_and(|keys| keys.contains(key))
    }

    /// Opens an entry; these are listed under its key already.
    pub(super) fn open(&mut self, item: Item, candidates: &[u64], at: Timestamp) -> u64 {
        let serial = self.base + self.entries.len() as u64;
        let key = item.key();
        let entry = Entry { item, last_activity: at, held: 0 };
        push_back(&mut self.entries, entry);
        self.list(key, candidates, serial);
        serial
    }

    /// Lists an entry under a key; instead of the oldest one where there are too many.
    fn list(&mut self, key: SocketKey, candidates: &[u64], serial: u64) {
        if candidates.len() >= MAX_ALIKE
            && let Some(oldest) = candidates.first()
        {
            self.index.strike(&key, *oldest);
        }
        let open = self.open_serials();
        self.index.list(&key, serial, &open);
    }

    /// Lists an entry under one more key.
    pub(super) fn list_also(&mut self, key: SocketKey, candidates: &[u64], serial: u64) {
        if self.get(serial).is_some() {
            self.also.entry(serial).or_default().push(key);
            self.list(key, candidates, serial);
        }
    }

    /// Notes that an entry holds so many more bytes.
    pub(super) fn grow(&mut self, serial: u64, bytes: usize) {
        if bytes == 0 {
            return;
        }
        if let Some(entry) = self.entry(serial) {
            entry.held = entry.held.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
            self.held += bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::FiveTuple;
    use crate::capture::{FileId, FrameRef, PointId, Seen};
    use crate::flow::{Signal, SignalKind};
    use crate::packet::Via;

    #[test]
    fn an_entry_takes_little_room() {
        assert_eq!(size_of::<Entry>(), 32);
    }

    #[test]
    fn a_flood_of_one_key_keeps_the_latest() {
        let (client, server) = ("10.0.0.1:4000".parse().unwrap(), "10.0.0.2:53".parse().unwrap());
        let at = FrameRef::new(FileId(0), 1);
        let seen = Seen { ts: Timestamp::from_nanos(1), at };
        let tuple = FiveTuple { src: client, dst: server, transport: Transport::Tcp };
        let via = Via::at(PointId(0));
        let signal = Signal { seen, via, tuple, kind: SignalKind::Syn(0) };
        let (mut table, key) = (Table::default(), SocketKey::of_connections(client));
        for _ in 0..1_000 {
            let item = Item::Connect(Box::new(TcpAttempt::new(&signal, 0)));
            let candidates = table.candidates(&key);
            table.open(item, &candidates, seen.ts);
        }
        let listed = table.candidates(&key);
        assert_eq!((listed.len(), listed.first()), (MAX_ALIKE, Some(&936)));
    }
}
