//! Groups one client's transactions into lookups (rulebook section 5).
//!
//! Transactions come in the order of their first frames, each with all that will ever be known
//! of it. A lookup is a list of candidate names ("rounds"), each asked for one or two types. A
//! transaction belongs to an open lookup of its client as
//!
//! - **parallel**: the same datagram to another server at once, as musl does;
//! - **sibling**: the other family of the candidate that is being asked, sent with it or, by
//!   resolvers that ask one after the other, right after its answer;
//! - **retry**: the same question again, known by its id, by the resolver's interval, or because
//!   an error had just come back. A resolver that was seen to keep its id never takes a new one;
//! - **fallback**: the same question over TCP after a truncated answer;
//! - **next candidate**: another name of the search list, sent as soon as the one before had
//!   failed for all its types, and never one that was asked already.
//!
//! Where several lookups fit, the one whose clock fits best takes it. Nothing is grouped across
//! clients, so that grouping never creates harm: a lookup is harmed only if a step of it is.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hashbrown::HashTable;
use smallvec::SmallVec;

use super::clients::Clients;
use super::model::{Lookup, Role, Sent};
use super::open::{Open, Place};
use super::profile::Profiles;
use super::search::{SearchLists, Suffixes};
use super::starts::Starts;
use crate::base::{Coverage, Host, Limit, Map, Timestamp, Transport, push_back};
use crate::transaction::timing::T_KEEP;
use crate::transaction::{Closed, TcpAttempt, Transaction};

/// How many lookups are open at once: each waits for its resolver's next try, sixteen seconds at
/// most, and holds what it has asked.
const MAX_OPEN: usize = 1 << 16;
/// Open lookups of one client for one label that a question is held against, the latest ones.
const MAX_ALIKE: usize = 64;
/// How many connections wait for the question that they were opened for.
const MAX_CONNECTS: usize = 4_096;

/// Groups transactions into lookups; see the module's docs for its rules.
#[derive(Debug, Default)]
pub struct Grouper {
    open: VecDeque<Open>,
    /// Serial number of the first of `open`.
    base: u64,
    /// The latest open lookup of each client and first label, which leads to those before it: the
    /// label stays the same over all candidates.
    latest: HashTable<u64>,
    hasher: foldhash::fast::RandomState,
    /// Open lookups with a truncated answer.
    truncated: Map<IpAddr, SmallVec<[u64; 2]>>,
    /// Connections that followed no truncated answer.
    connects: VecDeque<(SocketAddr, Arc<TcpAttempt>)>,
    lists: SearchLists,
    suffixes: Suffixes,
    clients: Clients,
    starts: Starts,
    now: Option<Timestamp>,
}

impl Grouper {
    /// Takes one transaction or connection, and hands on lookups that are over.
    pub fn take(
        &mut self,
        closed: &Closed,
        coverage: &mut Coverage,
        next: &mut impl FnMut(Lookup),
    ) {
        let first = match closed {
            Closed::Transaction(transaction) => transaction.first(),
            Closed::Connect(connect) => connect.first(),
        };
        self.advance(first.ts, coverage, next);
        match closed {
            Closed::Transaction(transaction) => {
                if transaction.is_infrastructure() {
                    self.clients.infrastructure(transaction);
                } else if !transaction.attempts.is_empty() {
                    self.transaction(transaction, first.ts, coverage);
                }
            }
            Closed::Connect(connect) => self.connect(connect),
        }
    }

    /// Closes every lookup: the capture is over.
    pub fn finish(&mut self, next: &mut impl FnMut(Lookup)) {
        while !self.open.is_empty() {
            self.close_first(next);
        }
    }

    /// What every client is and how it is set up, by what its lookups showed.
    pub fn into_profiles(self) -> Profiles {
        Profiles::of_clients(self.clients)
    }

    fn advance(&mut self, ts: Timestamp, coverage: &mut Coverage, next: &mut impl FnMut(Lookup)) {
        let now = self.now.map_or(ts, |now| now.max(ts));
        self.now = Some(now);
        while self.open.front().is_some_and(|first| first.horizon < now) {
            self.close_first(next);
        }
        // Over a connection that was opened longer ago nothing was asked.
        let idle = |connect: &TcpAttempt| now.since(connect.latest()) > T_KEEP;
        while self.connects.front().is_some_and(|(_, connect)| idle(connect)) {
            self.connects.pop_front();
        }
        if self.open.len() >= MAX_OPEN {
            coverage.limited(Limit::OpenLookups);
            self.close_first(next);
        }
    }

    fn close_first(&mut self, next: &mut impl FnMut(Lookup)) {
        let Some(open) = self.open.pop_front() else {
            return;
        };
        let serial = self.base;
        self.base += 1;
        let hash = self.hash(open.client, open.label);
        if let Ok(latest) = self.latest.find_entry(hash, |known| *known == serial) {
            latest.remove();
        }
        if !self.truncated.is_empty() {
            forget(&mut self.truncated, &open.client, serial);
        }
        let id = open.id;
        let in_vain = |asked: &Transaction| self.clients.asked_in_vain(asked);
        let (lookup, signs) = open.close(self.clients.usual(id), in_vain, &mut self.suffixes);
        self.clients.learn(id, &lookup, &signs);
        next(lookup);
    }

    fn transaction(
        &mut self,
        transaction: &Arc<Transaction>,
        sent: Timestamp,
        coverage: &mut Coverage,
    ) {
        let client = transaction.client.ip();
        let id = self.clients.note(transaction, coverage);
        let label = transaction.question.name.first_label_digest();
        let hash = self.hash(client, label);
        let latest = self.latest.find(hash, |serial| self.is_of(*serial, client, label)).copied();
        let mut best: Option<(u64, Place)> = None;
        let mut same_name = false;
        let mut unanswered = None;
        let mut alike = latest;
        for _ in 0..MAX_ALIKE {
            let Some(serial) = alike else { break };
            let at = index(self.base, serial);
            let Some(open) = at.and_then(|at| self.open.get(at)) else { break };
            alike = open.before;
            // Nearly all wait for nothing any more but those that began before them.
            if open.horizon < sent {
                continue;
            }
            let asks = open.asks(transaction);
            same_name |= asks;
            let Some(place) = open.place(transaction, sent, asks, &mut self.lists) else {
                if unanswered.is_none() {
                    let waited = if asks {
                        open.unanswered_for(transaction, sent)
                    } else {
                        open.given_up_after((transaction, sent), &mut self.lists)
                    };
                    unanswered =
                        waited.map(|(waited, place)| (serial, waited, place, open.started()));
                }
                continue;
            };
            // Of several that fit as well, the first one.
            if best.is_none_or(|(_, known)| place.fit <= known.fit) {
                best = Some((serial, place));
            }
        }
        let again = || {
            let (serial, waited, place, start) = unanswered?;
            let alone = self.starts.is_alone(id?, label, start);
            let is_timer = self.clients.asked_again(id?, waited, sent, alone);
            is_timer.then_some((serial, place))
        };
        let found = best.or_else(again).and_then(|(serial, place)| {
            let at = index(self.base, serial)?;
            Some((serial, place, self.open.get_mut(at)?))
        });
        let serial = if let Some((serial, place, open)) = found {
            if let Some(base) = place.next_round {
                open.next_round(base);
            }
            if place.is_unseen() {
                self.clients.went_on(transaction, sent);
            }
            open.add(place.role, Sent::Question(Arc::clone(transaction)));
            serial
        } else {
            if let Some(id) = id {
                self.starts.note(id, label, sent);
            }
            let habits = self.clients.habits(id, transaction.client);
            let mut open = Open::new(transaction, label, habits);
            open.id = id;
            open.before = latest;
            open.approximate = same_name;
            push_back(&mut self.open, open);
            let serial = self.base + self.open.len() as u64 - 1;
            self.lead_to(serial, latest, hash);
            serial
        };
        let Some(open) = index(self.base, serial).and_then(|at| self.open.get_mut(at)) else {
            return;
        };
        if open.is_truncated() {
            let listed = self.truncated.entry(client).or_default();
            if !listed.contains(&serial) {
                if listed.len() >= MAX_ALIKE {
                    listed.remove(0);
                }
                listed.push(serial);
            }
        }
        if transaction.transport == Transport::Tcp {
            let socket = transaction.client;
            let at = self.connects.iter().rposition(|(known, _)| *known == socket);
            if let Some((_, connect)) = at.and_then(|at| self.connects.remove(at)) {
                open.add(Role::Connection, Sent::Connect(connect));
            }
        }
    }

    fn hash(&self, client: IpAddr, label: u64) -> u64 {
        self.hasher.hash_one((Host(client), label))
    }

    fn get(&self, serial: u64) -> Option<&Open> {
        self.open.get(index(self.base, serial)?)
    }

    fn is_of(&self, serial: u64, client: IpAddr, label: u64) -> bool {
        self.get(serial).is_some_and(|open| open.label == label && open.client == client)
    }

    /// Makes `serial` the latest of its client and label, in place of the one before it.
    fn lead_to(&mut self, serial: u64, before: Option<u64>, hash: u64) {
        let known = before.and_then(|before| self.latest.find_mut(hash, |known| *known == before));
        if let Some(known) = known {
            *known = serial;
            return;
        }
        let Self { latest, open, base, hasher, .. } = self;
        latest.insert_unique(hash, serial, |serial| {
            let known = index(*base, *serial).and_then(|at| open.get(at));
            known.map_or(0, |open| hasher.hash_one((Host(open.client), open.label)))
        });
    }

    /// A connection belongs to the lookup whose truncated answer made the client open it, or else
    /// to the one whose question comes over it.
    fn connect(&mut self, connect: &Arc<TcpAttempt>) {
        let client = connect.client.ip();
        let serials = self.truncated.get(&client).cloned().unwrap_or_default();
        let nearest = |same_server: bool| {
            let off = |serial: &u64| {
                let open = self.open.get(index(self.base, *serial)?)?;
                Some((*serial, open.fallback(connect, same_server)?))
            };
            serials.iter().filter_map(off).min_by_key(|(_, off)| *off)
        };
        let best = nearest(true).or_else(|| nearest(false));
        let found = best.and_then(|(serial, _)| self.open.get_mut(index(self.base, serial)?));
        if let Some(open) = found {
            open.add(Role::Fallback, Sent::Connect(Arc::clone(connect)));
            return;
        }
        if self.connects.len() >= MAX_CONNECTS {
            self.connects.pop_front();
        }
        self.connects.push_back((connect.client, Arc::clone(connect)));
    }
}

fn index(base: u64, serial: u64) -> Option<usize> {
    usize::try_from(serial.checked_sub(base)?).ok()
}

fn forget<K: std::hash::Hash + Eq>(table: &mut Map<K, SmallVec<[u64; 2]>>, key: &K, serial: u64) {
    if let Some(listed) = table.get_mut(key) {
        listed.retain(|known| *known != serial);
        if listed.is_empty() {
            table.remove(key);
        }
    }
}
