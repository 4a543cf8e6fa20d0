//! How long a resolver waits: learned from the intervals that it shows, else by its kind's rule
//! (rulebook section 3).

use std::time::Duration;

use smallvec::SmallVec;

use super::manner::Manner;
use super::round::Sending;
use crate::base::Timestamp;
use crate::dns::AnswerKind;
use crate::transaction::timing::{DEFAULT_TIMEOUT, EARLY};
use crate::transaction::{TcpAttempt, Transaction};

/// Repetitions faster than this follow an answer or an error, not a timer.
pub(super) const TIMER: Duration = Duration::from_millis(900);
/// The same for musl, which sends `attempts:` times within its `timeout:`, ten times a second at most.
const MUSL_TIMER: Duration = Duration::from_millis(90);
/// musl answers SERVFAIL within microseconds; a loaded host takes longer.
const QUICK: Duration = Duration::from_millis(20);
/// musl's whole budget for one candidate, unless `timeout:` says otherwise.
const MUSL_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the resolver listens after the last of `sendings`, which are all of one question.
///
/// What it waited after it had last asked this server, it will wait again. c-ares and JNDI double
/// their wait; glibc waits `(timeout << k) / n` for the k-th of n servers; everything else
/// waits as long as ever.
pub(super) fn of(sendings: &[Sending<'_>], manner: Manner) -> Duration {
    // What was sent but once shows no interval.
    let [_, .., last] = sendings else {
        return manner.patience;
    };
    let server = last.transaction.server;
    let gaps: SmallVec<[(Duration, Sending<'_>); 8]> = sendings
        .windows(2)
        .filter_map(|pair| {
            let [before, next] = pair else { return None };
            let gap = next.at.since(before.at);
            (gap >= TIMER && !follows_error(before.transaction, next.at)).then_some((gap, *before))
        })
        .collect();
    if let [.., (one, before), (two, _)] = gaps.as_slice() {
        let new_socket = before.transaction.client != last.transaction.client;
        let same_server = sendings.iter().all(|sending| sending.transaction.server == server);
        if new_socket && same_server && *two * 4 >= *one * 5 {
            return *two * 2;
        }
    }
    let here = gaps.iter().rev().find(|(_, before)| before.transaction.server == server);
    if let Some((gap, _)) = here {
        return *gap;
    }
    let mut servers: SmallVec<[std::net::SocketAddr; 3]> = SmallVec::new();
    for sending in sendings {
        if !servers.contains(&sending.transaction.server) {
            servers.push(sending.transaction.server);
        }
    }
    let Some((first, _)) = gaps.first() else {
        return manner.patience;
    };
    let place = u32::try_from(servers.len().saturating_sub(1)).unwrap_or(0).min(4);
    if place == 0 || manner.new_ids {
        return *first;
    }
    // glibc counts in whole seconds.
    let timeout = (first.as_millis() + 100) / 1_000;
    let seconds = u64::try_from(timeout).unwrap_or(5) << place;
    Duration::from_secs((seconds / u64::from(place + 1)).max(1))
}

/// How long musl stays with one candidate: its sends stand `timeout / attempts` apart.
pub(super) fn musl<'a>(asked: impl Iterator<Item = &'a Transaction>, manner: Manner) -> Duration {
    let longest = asked.filter_map(musl_shown).max();
    longest.unwrap_or_else(|| manner.musl_timeout.unwrap_or(MUSL_TIMEOUT))
}

/// The same as far as one question shows it that was sent again.
pub(super) fn musl_shown(asked: &Transaction) -> Option<Duration> {
    let (gap, slots) = musl_rounds(asked)?;
    Some(gap * slots)
}

/// Whether a datagram was sent again by a timer that counts less than a second: other resolvers count
/// in whole seconds.
pub(super) fn is_quick(asked: &Transaction) -> bool {
    musl_rounds(asked).is_some_and(|(gap, _)| gap < TIMER)
}

/// How long musl's timer let pass between two rounds of sending, and how many rounds there were. What it
/// sends at once because an error came back belongs to the round that it is in.
fn musl_rounds(asked: &Transaction) -> Option<(Duration, u32)> {
    let mut sent = asked.attempts.iter().map(|attempt| attempt.sent().ts);
    let mut start = sent.next()?;
    let (mut shown, mut slots) = (None, 1);
    for again in sent.filter(|again| !follows_error(asked, *again)) {
        let gap = again.since(start);
        if gap >= MUSL_TIMER {
            shown.get_or_insert((gap, again));
            slots += 1;
        }
        start = again;
    }
    let (gap, again) = shown?;
    // A loaded host takes its time to answer an error as well: what looks like less than a second is a
    // timer if it divides whole ones, which is how `timeout:` counts.
    let silent = || asked.responses.iter().all(|response| response.arrived().ts > again);
    (gap >= TIMER || silent() || is_whole(gap * slots)).then_some((gap, slots))
}

/// Whether that is a whole number of seconds, as nearly as timers run.
fn is_whole(length: Duration) -> bool {
    let seconds = length.as_secs_f64();
    seconds.round() >= 1.0 && (seconds - seconds.round()).abs() <= seconds * 0.03
}

/// Whether an error had just come back: that repetition has no place in the timer's grid.
pub(super) fn follows_error(asked: &Transaction, again: Timestamp) -> bool {
    asked.responses.iter().any(|response| {
        let at = response.arrived().ts;
        matches!(response.kind, AnswerKind::Error(_)) && at <= again && again.since(at) <= QUICK
    })
}

/// When the client knew what came of its connection.
///
/// The kernel repeats a SYN after 1, 2, 4, … seconds for more than two minutes, and the resolver
/// gives up with it (glibc) or by a timer of its own: a repetition that did not come says that it
/// had given up before. Of a connection that was accepted and `answered`, the answers say the rest: some
/// clients keep it open for seconds behind them.
pub(super) fn connect_ends(connect: &TcpAttempt, answered: bool) -> Timestamp {
    if let Some(accepted) = connect.accepted {
        if answered {
            return accepted;
        }
        let over = connect.closed.or(connect.reset.map(|(seen, _)| seen.ts));
        return over.map_or(accepted, |end| end.max(accepted));
    }
    let refused = connect.rejected.map(|(seen, _)| seen).or(connect.reset.map(|(seen, _)| seen));
    if let Some(seen) = refused {
        return seen.ts;
    }
    let start = connect.first().ts;
    let sent = connect.syns.last().map_or(start, |seen| seen.ts);
    let before = connect.syns.iter().rev().nth(1).map_or(start, |seen| seen.ts);
    let gap = sent.since(before).max(Duration::from_millis(500));
    let next = sent.after(gap * 2);
    [5, 10, 15]
        .map(|seconds| start.after(Duration::from_secs(seconds)))
        .into_iter()
        .find(|timer| timer.after(EARLY) >= sent && *timer <= next)
        .unwrap_or(if sent == start { start.after(DEFAULT_TIMEOUT) } else { next })
}
