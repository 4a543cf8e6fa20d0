//! The rung of a response: what it says, how long it took, whether it counted.

use super::ladder::Ladder;
use super::model::{Event, Rung};
use super::words;
use crate::base::words::{Text, duration, join, text};
use crate::transaction::{Response, Transaction};

/// The rung of one response to `asked`.
pub(super) fn rung(ladder: &Ladder<'_>, asked: &Transaction, response: &Response) -> Rung {
    let rtype = asked.question.rtype;
    let mut text = text!(
        "{rtype}  id {id}  {answer}",
        rtype,
        id = format_args!("{:04x}", asked.id),
        answer = words::answer(response, rtype)
    );
    let origin = response.origin().filter(|origin| *origin != asked.server.ip());
    if let Some(origin) = origin {
        text.push(text!(", from {origin}", origin));
    }
    let mut rung = ladder.rung(response.arrived().ts, Event::Answer, text, &response.hops);
    rung.verdict = Some(verdict(asked, response));
    rung
}

/// When it came and whether the client could use it.
fn verdict(asked: &Transaction, response: &Response) -> Text {
    if asked.attempts.is_empty() {
        return text!("its query is not in the capture");
    }
    let arrived = response.arrived().ts;
    let last = asked.last_sent_before(arrived);
    let mut parts =
        vec![text!("{since} after it was asked for", since = duration(arrived.since(last)))];
    let first = asked.first().ts;
    if last != first {
        parts
            .push(text!("{since} after the first attempt", since = duration(arrived.since(first))));
    }
    parts.extend(words::host_delay(response));
    if let Some(why) = words::undelivered(response, asked.server.ip()) {
        parts.push(why);
    } else if asked.deadline().is_some_and(|deadline| arrived > deadline) {
        parts.push(text!("too late: the client had given this socket up"));
    } else {
        let counted = asked.answer().is_some_and(|answer| std::ptr::eq(answer, response));
        if !counted {
            parts.push(text!("one more answer to the same question"));
        }
    }
    join(parts, "; ")
}
