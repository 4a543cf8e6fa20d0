//! Whether a response that the capture shows reached the client's socket (rulebook K4, 2.B).

use super::model::{Hop, Response, Transaction, Undelivered, only_other_host};
use super::nat::Nat;
use crate::base::Timestamp;

/// Marks the responses of a finished transaction that did not reach the client.
pub(super) fn judge(transaction: &mut Transaction, nat: &Nat) {
    let asked = transaction.server.ip();
    let Some(home) = transaction.attempts.first().and_then(|a| a.hops.first()) else { return };
    let home = home.via.interface;
    // On the client's own interface an answer has to come from the address that was asked. A
    // capture behind the translation shows the backend asked and the service answering: no defect.
    let stranger = |response: &Response| {
        let at_home = |hop: &&Hop| hop.via.interface == home;
        let mut hops = response.hops.iter().filter(at_home).peekable();
        let wrong = hops.peek().is_some() && hops.all(|hop| hop.server != asked);
        let source = response.hops.last().map_or(asked, |hop| hop.server);
        (wrong && !nat.translates(source, asked)).then_some(source)
    };
    let last_sent = transaction.last_sent().map_or(Timestamp::MIN, |seen| seen.ts);
    // Where no translation is known, a client that goes on asking as if nothing had come is the
    // proof that its socket refused the answer.
    let refused: Vec<_> = transaction
        .responses
        .iter()
        .filter(|response| response.arrived().ts < last_sent)
        .filter_map(stranger)
        .collect();
    let verdicts: Vec<Option<Undelivered>> = transaction
        .responses
        .iter()
        .map(|response| {
            if response.lost.is_some() {
                response.lost
            } else if only_other_host(&response.hops) {
                Some(Undelivered::OtherHost)
            } else {
                stranger(response)
                    .filter(|source| nat.translates(asked, *source) || refused.contains(source))
                    .map(|_| Undelivered::WrongSource)
            }
        })
        .collect();
    for (response, lost) in transaction.responses.iter_mut().zip(verdicts) {
        response.lost = lost;
    }
}
