//! What is no message: ICMP errors, and the steps of TCP connections.

use super::{MAX_REPEATS, Matcher};
use crate::flow::{Rejection, Signal, SignalKind};
use crate::transaction::connect::TcpAttempt;
use crate::transaction::model::{Rejected, Response, Undelivered};
use crate::transaction::table::{Item, SocketKey};
use crate::transaction::timing::{COPY_WINDOW, T_KEEP};

impl Matcher {
    /// Takes an ICMP error.
    pub(super) fn rejection(&mut self, rejection: &Rejection) {
        let Some((id, is_response)) = rejection.message else {
            return;
        };
        let quoted = rejection.quoted;
        let client = if is_response { quoted.dst } else { quoted.src };
        let server = if is_response { quoted.src.ip() } else { quoted.dst.ip() };
        let key = SocketKey::of_messages(quoted.transport, client, id);
        let candidates = self.table.candidates(&key);
        for &serial in candidates.iter().rev() {
            let Some(entry) = self.table.entry(serial) else {
                continue;
            };
            if rejection.seen.ts.is_past(entry.last_activity, T_KEEP) {
                continue;
            }
            let Some(transaction) = entry.item.transaction() else {
                continue;
            };
            if is_response {
                // The client's own host says that nobody listens any more.
                let mut responses = transaction.responses.iter_mut().rev();
                let of_it =
                    |response: &&mut Response| response.hops.iter().any(|hop| hop.server == server);
                if let Some(response) = responses.find(of_it)
                    && matches!(response.lost, None | Some(Undelivered::Elsewhere))
                {
                    response.lost = Some(Undelivered::Refused);
                }
            } else if let Some(known) = transaction.rejections.last_mut().filter(|known| {
                known.kind == rejection.kind
                    && rejection.seen.ts.distance(known.seen.ts) <= COPY_WINDOW
                    && transaction.attempts.len() <= 1
            }) {
                // A further copy on its way back; the first one names the true sender.
                if rejection.seen < known.seen {
                    known.seen = rejection.seen;
                    known.from = rejection.from;
                    known.server = server;
                }
            } else if transaction.rejections.len() < MAX_REPEATS {
                transaction.rejections.push(Rejected {
                    seen: rejection.seen,
                    kind: rejection.kind,
                    from: rejection.from,
                    server,
                });
            }
            entry.last_activity = entry.last_activity.max(rejection.seen.ts);
            return;
        }
    }

    /// Takes a step of a TCP connection.
    pub(super) fn signal(&mut self, signal: &Signal) {
        let key = SocketKey::of_connections(signal.tuple.src);
        let ts = signal.seen.ts;
        let candidates = self.table.candidates(&key);
        if let SignalKind::Syn(isn) = signal.kind {
            for &serial in candidates.iter().rev() {
                let Some(entry) = self.table.entry(serial) else { continue };
                let fresh = !ts.is_past(entry.last_activity, T_KEEP);
                let Item::Connect(connect) = &mut entry.item else { continue };
                if connect.isn != isn || !fresh {
                    continue;
                }
                connect.syn(signal);
                let service = connect.server.ip();
                entry.last_activity = entry.last_activity.max(ts);
                if service != signal.tuple.dst.ip() {
                    self.nat.learn(service, signal.tuple.dst.ip());
                }
                return;
            }
            let connect = TcpAttempt::new(signal, isn);
            self.table.open(Item::Connect(Box::new(connect)), &candidates, ts);
            return;
        }
        let Some(&serial) = candidates.last() else { return };
        let Some(entry) = self.table.entry(serial) else { return };
        entry.last_activity = entry.last_activity.max(ts);
        if let Item::Connect(connect) = &mut entry.item {
            connect.take(signal);
        }
    }
}
