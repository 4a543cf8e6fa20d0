//! Responses: a further hop of one that is known, or the answer to whoever asked.

use std::sync::Arc;

use smallvec::smallvec;

use super::{MAX_REPEATS, Matcher};
use crate::base::{Coverage, Limit, Transport};
use crate::dns::{AnswerKind, Message, Question};
use crate::transaction::hops::{Hop, Hops};
use crate::transaction::latest::Landed;
use crate::transaction::model::{Response, Transaction, Undelivered};
use crate::transaction::sighting::Sighting;
use crate::transaction::table::{Item, SocketKey};
use crate::transaction::timing::T_KEEP;

/// Answers whose copies are waited for at once.
const FRESH: usize = 8_192;

impl Matcher {
    /// Takes a response; returns where it belongs, if its client has nothing else open like it.
    pub(super) fn response(
        &mut self,
        sighting: &Sighting<'_>,
        message: &Message,
        coverage: &mut Coverage,
    ) -> Option<Landed> {
        let Sighting { client, server, .. } = *sighting;
        let hop = sighting.hop();
        // Of what was held back the other fragments never came.
        let partial = self.belated && sighting.transport == Transport::Udp;
        let key = SocketKey::of_messages(sighting.transport, *client, message.header.id);
        let candidates = self.table.candidates(&key);
        let alone = |landed| Some(landed).filter(|_| candidates.len() <= 1);
        if let Some(landed) = candidates.iter().find_map(|serial| self.known(*serial, sighting)) {
            self.hop(landed, sighting, coverage);
            return alone(landed);
        }

        let kind = message.answer_kind();
        let asked = message.question.as_ref();
        let mut response = Response {
            hops: Hops::of(&hop),
            digest: sighting.digest_half(),
            ip_id: sighting.ip_id,
            header: message.header,
            rcode: message.rcode(),
            kind,
            records: Arc::clone(&message.records),
            edns: message.edns,
            length: u16::try_from(message.wire_len).unwrap_or(u16::MAX),
            case_kept: true,
            home: None,
            lost: (self.astray.is_astray(sighting).then_some(Undelivered::Elsewhere))
                .or(partial.then_some(Undelivered::Incomplete)),
            stopped: false,
            settled: None,
        };
        if let Some(serial) = self.asked_by(&candidates, asked, kind, &hop) {
            let entry = self.table.entry(serial)?;
            entry.last_activity = entry.last_activity.max(hop.seen.ts);
            let transaction = entry.item.transaction()?;
            if let Some(asked) = asked {
                response.case_kept = asked.name.same_case(&transaction.question.name);
            }
            let before = transaction.responses.len();
            if before >= MAX_REPEATS {
                coverage.limited(Limit::Repeats);
                return None;
            }
            transaction.responses.push(response);
            if before == 0 && self.fresh.len() < FRESH {
                self.fresh.push_back((hop.seen.ts, serial));
            }
            self.table.grow(serial, size_of::<Response>());
            return alone(Landed { serial, nth: u8::try_from(before).ok()? });
        }
        // Nobody asked, as far as the capture shows.
        let ends = (*client, *server);
        let id = message.header.id;
        let transaction = Transaction {
            responses: smallvec![response],
            ..Transaction::new(ends, sighting.transport, id, asked?.clone())
        };
        let item = Item::Transaction(Box::new(transaction));
        let serial = self.table.open(item, &candidates, hop.seen.ts);
        Some(Landed { serial, nth: 0 }).filter(|_| candidates.is_empty())
    }

    /// The transaction that a response belongs to (rules 5 and 4.9).
    fn asked_by(
        &mut self,
        candidates: &[u64],
        asked: Option<&Question>,
        kind: AnswerKind,
        hop: &Hop,
    ) -> Option<u64> {
        let mut best: Option<(u8, u64)> = None;
        for &serial in candidates {
            let Some(entry) = self.table.entry(serial) else {
                continue;
            };
            if hop.seen.ts.is_past(entry.last_activity, T_KEEP) {
                continue;
            }
            let Some(transaction) = entry.item.transaction() else {
                continue;
            };
            let same_question = match asked {
                Some(question) => *question == transaction.question,
                // Servers that refuse may leave the question out (4.9).
                None => matches!(kind, AnswerKind::Error(_)),
            };
            if !same_question {
                continue;
            }
            if candidates.len() == 1 {
                return Some(serial);
            }
            let asked = transaction.server.ip();
            let related = self.nat.relates(asked, hop.server);
            let leg = asked == hop.server
                || transaction
                    .attempts
                    .iter()
                    .any(|attempt| attempt.hops.iter().any(|seen| seen.server == hop.server));
            let open = transaction.responses.is_empty();
            let rank = match (leg, related, open) {
                (true, _, true) => 5,
                (_, true, true) => 4,
                (true, _, false) => 3,
                (_, true, false) => 2,
                (false, false, true) => 1,
                (false, false, false) => 0,
            };
            // Among equals the latest question is the one that is being answered.
            if best.is_none_or(|(known, _)| rank >= known) {
                best = Some((rank, serial));
            }
        }
        best.map(|(_, serial)| serial)
    }
}
