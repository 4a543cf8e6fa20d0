//! Queries: a further hop of an attempt, a further attempt, or a transaction of its own.

use std::net::IpAddr;

use smallvec::smallvec;

use super::Matcher;
use crate::base::Coverage;
use crate::dns::Message;
use crate::transaction::hops::{Hop, Hops};
use crate::transaction::latest::Landed;
use crate::transaction::model::{Attempt, QueryTraits, Transaction};
use crate::transaction::nat::Nat;
use crate::transaction::sighting::{Sighting, sight, takes_attempt};
use crate::transaction::table::{Item, SocketKey};

impl Matcher {
    /// Takes a query; returns where it belongs, if its client has nothing else open like it.
    pub(super) fn query(
        &mut self,
        sighting: &Sighting<'_>,
        message: &Message,
        coverage: &mut Coverage,
    ) -> Option<Landed> {
        let question = message.question.as_ref()?;
        let Sighting { client, server, .. } = *sighting;
        let hop = sighting.hop();
        let key = SocketKey::of_messages(sighting.transport, *client, message.header.id);
        let candidates = self.table.candidates(&key);
        let alone = |landed| Some(landed).filter(|_| candidates.len() <= 1);

        // A further hop of an attempt that is known already: of one that was sent to this very address,
        // else to one that is known to be translated to it, else of the latest. (musl asks several servers
        // with one id from one port, and where there is no IP identification all of them look alike.)
        let fits: [fn(&Nat, IpAddr, IpAddr) -> bool; 3] =
            [|_, asked, seen| asked == seen, Nat::translates, |_, _, _| true];
        for fit in fits {
            for &serial in candidates.iter().rev() {
                let Some(entry) = self.table.entry(serial) else { continue };
                let Some(transaction) = entry.item.transaction() else { continue };
                let asked = transaction.server.ip();
                if transaction.question == *question
                    && fit(&self.nat, asked, hop.server)
                    && let Some(landed) = self.known(serial, sighting)
                {
                    self.hop(landed, sighting, coverage);
                    return alone(landed);
                }
            }
        }

        self.astray.sent(sighting);
        let attempt = Attempt {
            hops: Hops::of(&hop),
            digest: sighting.digest_half(),
            ip_id: sighting.ip_id,
            vanish: None,
        };
        // A further attempt of a transaction that is known already.
        for &serial in candidates.iter().rev() {
            let Some(entry) = self.table.entry(serial) else {
                continue;
            };
            let last_activity = entry.last_activity;
            let Some(transaction) = entry.item.transaction() else {
                continue;
            };
            if transaction.question != *question
                || !takes_attempt(transaction, hop.seen.ts, last_activity)
                || !self.nat.relates(transaction.server.ip(), hop.server)
            {
                continue;
            }
            if transaction.attempts.is_empty() {
                // The response stood before its query in the capture.
                transaction.traits = QueryTraits::of(message.header, message.edns.as_ref());
                transaction.server = *server;
            }
            transaction.attempts.push(attempt);
            let nth = u8::try_from(transaction.attempts.len() - 1);
            entry.last_activity = entry.last_activity.max(hop.seen.ts);
            self.table.grow(serial, size_of::<Attempt>());
            return nth.ok().and_then(|nth| alone(Landed { serial, nth }));
        }

        if self.masqueraded(sighting, (key, &candidates), coverage) {
            return None;
        }
        let ends = (*client, *server);
        let id = message.header.id;
        let transaction = Transaction {
            traits: QueryTraits::of(message.header, message.edns.as_ref()),
            attempts: smallvec![attempt],
            ..Transaction::new(ends, sighting.transport, id, question.clone())
        };
        let item = Item::Transaction(Box::new(transaction));
        let serial = self.table.open(item, &candidates, hop.seen.ts);
        self.recent.note(sighting, serial);
        Some(Landed { serial, nth: 0 }).filter(|_| candidates.is_empty())
    }

    /// Whether it is the same datagram as a moment ago, under another client address.
    fn masqueraded(
        &mut self,
        sighting: &Sighting<'_>,
        (key, candidates): (SocketKey, &[u64]),
        coverage: &mut Coverage,
    ) -> bool {
        let Some(serial) = self.recent.find(sighting) else { return false };
        let Some(entry) = self.table.entry(serial) else { return false };
        if let Some(transaction) = entry.item.transaction() {
            transaction.masquerade.get_or_insert_with(|| Box::new(*sighting.client));
            let mut attempts = transaction.attempts.iter_mut().rev();
            if let Some(attempt) = attempts.find(|attempt| attempt.ip_id == sighting.ip_id) {
                sight(&mut attempt.hops, &sighting.hop());
            }
        }
        self.table.list_also(key, candidates, serial);
        self.table.grow(serial, size_of::<SocketKey>() + size_of::<Hop>());
        coverage.nat_copies += 1;
        true
    }
}
