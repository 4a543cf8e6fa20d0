//! The rung of a response: what it says, how long it took, whether it counted.

use super::ladder::Ladder;
use super::model::{Event, Rung};
use super::words;
use crate::base::words::duration;
use crate::transaction::{Response, Transaction};

/// The rung of one response to `asked`.
pub(super) fn rung(ladder: &Ladder<'_>, asked: &Transaction, response: &Response) -> Rung {
    let rtype = asked.question.rtype.to_string();
    let mut text = format!("{rtype}  id {:04x}  {}", asked.id, words::answer(response, &rtype));
    let origin = response.origin().filter(|origin| *origin != asked.server.ip());
    if let Some(origin) = origin {
        text.push_str(&format!(", from {origin}"));
    }
    let mut rung = ladder.rung(response.arrived().ts, Event::Answer, text, &response.hops);
    rung.verdict = Some(verdict(asked, response));
    rung
}

/// When it came and whether the client could use it.
fn verdict(asked: &Transaction, response: &Response) -> String {
    if asked.attempts.is_empty() {
        return "its query is not in the capture".to_owned();
    }
    let arrived = response.arrived().ts;
    let last = asked.last_sent_before(arrived);
    let mut parts = vec![format!("{} after it was asked for", duration(arrived.since(last)))];
    let first = asked.first().ts;
    if last != first {
        parts.push(format!("{} after the first attempt", duration(arrived.since(first))));
    }
    parts.extend(words::host_delay(response));
    if let Some(why) = words::undelivered(response, asked.server.ip()) {
        parts.push(why);
    } else if asked.deadline().is_some_and(|deadline| arrived > deadline) {
        parts.push("too late: the client had given this socket up".to_owned());
    } else {
        let counted = asked.answer().is_some_and(|answer| std::ptr::eq(answer, response));
        if !counted {
            parts.push("one more answer to the same question".to_owned());
        }
    }
    parts.join("; ")
}
