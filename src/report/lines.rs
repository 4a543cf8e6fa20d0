//! What every human report says of an incident and of the traffic, in the same words.

use std::cmp::Reverse;
use std::net::IpAddr;

use crate::analysis::{Analysis, ClientTally, LeftOut, ServerTally, Tally, Traffic};
use crate::base::Span;
use crate::base::words::{Text, ToText, count, date, duration, join, list, plain, text};
use crate::incident::{Affected, Incident, Severity};
use crate::packet::Skip;

/// Culprits named in one line.
const CULPRITS: usize = 5;
/// Kinds of resolver named for one client.
const RESOLVERS: usize = 3;

/// Who was hurt, in one line.
pub(super) fn hurt(incident: &Incident) -> Text {
    let affected = &incident.affected;
    if affected.lookups == 0 {
        return text!("nobody by itself");
    }
    let Affected { lookups, failed, denied, misled, .. } = *affected;
    let mut parts = Vec::new();
    let mut say = |lookups: u64, words: fn(Text) -> Text| {
        if lookups > 0 {
            let first = parts.is_empty();
            parts.push(words(if first { count(lookups, "lookup") } else { plain(lookups) }));
        }
    };
    say(failed - denied - misled, |lookups| text!("{lookups} failed", lookups));
    say(denied, |lookups| text!("{lookups} found nothing", lookups));
    say(misled, |lookups| text!("{lookups} got a wrong answer", lookups));
    say(lookups - failed, |lookups| text!("{lookups} delayed", lookups));
    if !affected.added.is_zero() {
        parts.push(text!("{added} added", added = duration(affected.added)));
    }
    // What was refused at once took nobody's time.
    if let Some(worst) = affected.worst.filter(|_| !affected.added.is_zero()) {
        parts.push(text!("the worst took {worst}", worst = duration(worst)));
    }
    let clients = affected.clients.len() as u64;
    parts.push(text!(
        "{clients} ({addresses})",
        clients = count(clients, "client"),
        addresses = list(affected.clients.keys(), 3)
    ));
    join(parts, ", ")
}

/// Who is to blame, in one line.
pub(super) fn culprits(incident: &Incident) -> Text {
    let culprits = &incident.cause.culprits;
    if culprits.is_empty() {
        return text!("not told by this capture");
    }
    list(
        culprits.iter().map(|culprit| text!("{kind} {culprit}", kind = culprit.word(), culprit)),
        CULPRITS,
    )
}

/// How sure it is and how much it matters.
pub(super) fn sure(incident: &Incident) -> Text {
    let confidence = incident.cause.confidence;
    text!("{confidence}, score {score}", confidence, score = incident.score)
}

/// The time window, in one line.
pub(super) fn window(analysis: &Analysis, incident: &Incident) -> Text {
    let span = incident.cause.span;
    let ongoing = if incident.cause.ongoing {
        text!(", still going on when the capture ended")
    } else {
        Text::EMPTY
    };
    let (start, end) = (analysis.clock(span.start), analysis.clock(span.end));
    text!(
        "{start} to {end} UTC ({length}){ongoing}",
        start,
        end,
        length = duration(span.length()),
        ongoing
    )
}

/// What was captured, in one line.
pub(super) fn captured(analysis: &Analysis, span: Span) -> Text {
    text!(
        "{start} to {end} UTC ({length}), {files}, {frames}",
        start = date(span.start),
        end = analysis.clock(span.end),
        length = duration(span.length()),
        files = count(analysis.files.len() as u64, "file"),
        frames = count(analysis.coverage.frames, "frame")
    )
}

/// Whether it is loud enough for the first screen.
pub(super) fn is_loud(incident: &Incident) -> bool {
    incident.severity > Severity::Info
}

/// Ranks as people write them: `#4`, `#4-#9`, `#4, #6, #7`.
pub(super) fn ranks(ranks: impl IntoIterator<Item = usize>) -> Text {
    let ranks: Vec<usize> = ranks.into_iter().collect();
    match (ranks.first(), ranks.last()) {
        (Some(first), Some(last)) if last - first + 1 == ranks.len() && first < last => {
            text!("#{first}-#{last}", first, last)
        }
        _ => list(ranks.iter().map(|rank| text!("#{rank}", rank)), 4),
    }
}

/// Where a frame can be opened: `file:frame`.
pub(super) fn frame(analysis: &Analysis, at: crate::capture::FrameRef) -> String {
    format!("{}:{}", analysis.path(at), at.number())
}

/// What findings have to be read with in mind: serious gaps of the capture, inputs left out, damage.
pub(super) fn cautions(analysis: &Analysis) -> impl Iterator<Item = Text> {
    let serious = analysis.health.iter().filter(|health| health.serious);
    let damaged = analysis.files.iter().flat_map(|file| {
        file.problems
            .iter()
            .map(move |problem| text!("{path}: {problem}", path = plain(&file.path), problem))
    });
    focus(&analysis.outside)
        .into_iter()
        .chain(serious.map(|health| {
            text!("{rule}: {detail}", rule = plain(health.rule), detail = health.detail)
        }))
        .chain(analysis.left_out.iter().cloned())
        .chain(damaged)
}

/// What this report does not look at.
pub(super) fn focus(outside: &LeftOut) -> Option<Text> {
    if outside.focus.is_empty() || outside.transactions + outside.lookups == 0 {
        return None;
    }
    Some(text!(
        "only a part is looked at ({focus}): {transactions} and {lookups} outside of it are left \
         out",
        focus = join(outside.focus.iter().cloned(), "; "),
        transactions = count(outside.transactions, "transaction"),
        lookups = count(outside.lookups, "lookup")
    ))
}

/// Every server, the busiest first.
pub(super) fn servers(analysis: &Analysis) -> Vec<(IpAddr, &ServerTally)> {
    let mut servers: Vec<_> = analysis.traffic.servers.iter().map(|(a, s)| (*a, s)).collect();
    servers.sort_by_key(|(address, server)| (Reverse(server.tally.questions), *address));
    servers
}

/// Every client that looked something up, the most hurt first.
pub(super) fn clients(analysis: &Analysis) -> Vec<(IpAddr, &ClientTally)> {
    let clients = analysis.traffic.clients.iter().filter(|(_, client)| client.lookups > 0);
    let mut clients: Vec<_> = clients.map(|(address, client)| (*address, client)).collect();
    clients.sort_by_key(|(address, client)| {
        (Reverse(client.failed_lookups + client.slow_lookups), *address)
    });
    clients
}

/// The resolvers that a client's lookups look like, the likeliest first.
pub(super) fn looks_like(client: &ClientTally) -> Text {
    let mut resolvers: Vec<_> = client.resolvers.iter().collect();
    resolvers.sort_by_key(|(resolver, lookups)| (Reverse(**lookups), **resolver));
    let names = resolvers.iter().take(RESOLVERS).map(|(resolver, _)| resolver.to_text());
    join(names, ", ")
}

/// The transactions that can be judged: the whole that a share of losses is of.
pub(super) fn lost_of(tally: &Tally) -> u64 {
    tally.answered + tally.unanswered + tally.late
}

/// Why frames were not understood, as coverage counts them.
pub(super) fn skipped_for(reason: &str) -> Text {
    let known = [Skip::Cut, Skip::BadHeader, Skip::Encrypted, Skip::TooDeep];
    if let Some(skip) = known.iter().find(|skip| skip.to_text() == *reason) {
        return skip.to_text();
    }
    reason
        .strip_prefix("link type ")
        .map_or_else(|| plain(reason), |link| text!("link type {link}", link = plain(link)))
}

/// A length of time, if there is one.
pub(super) fn time(length: Option<std::time::Duration>) -> Text {
    length.map_or_else(|| plain("-"), duration)
}

/// The lookups, in one sentence.
pub(super) fn lookups(traffic: &Traffic) -> Text {
    let times = match (traffic.lookup_times.quantile(500), traffic.lookup_times.max()) {
        (Some(p50), Some(max)) => {
            text!(
                "half took at most {p50}, the longest {max}",
                p50 = duration(p50),
                max = duration(max)
            )
        }
        _ => text!("none could be timed"),
    };
    text!(
        "{lookups}, {failed_lookups} failed, {slow_lookups} of the others took 1 s or more; {times}",
        lookups = count(traffic.lookups, "lookup"),
        failed_lookups = traffic.failed_lookups,
        slow_lookups = traffic.slow_lookups,
        times
    )
}

/// The transactions, in one sentence.
pub(super) fn questions(traffic: &Traffic) -> Text {
    text!(
        "{transactions}: {answered} answered, {unanswered} unanswered, {late} late, {unknown} \
         unknown; {retransmissions} in {queries} sent",
        transactions = count(traffic.transactions, "transaction"),
        answered = traffic.answered,
        unanswered = traffic.unanswered,
        late = traffic.late,
        unknown = traffic.unknown,
        retransmissions = count(traffic.retransmissions, "retransmission"),
        queries = count(traffic.queries, "query")
    )
}

/// The answers, in one sentence.
pub(super) fn answers(traffic: &Traffic) -> Text {
    let rcodes = traffic.rcodes.iter().map(|(rcode, count)| text!("{rcode} {count}", rcode, count));
    let rcodes = join(rcodes, ", ");
    let rcodes = if rcodes.is_empty() { text!("none") } else { rcodes };
    text!(
        "{rcodes}; {nodata} without data, {truncated} truncated",
        rcodes,
        nodata = traffic.nodata,
        truncated = traffic.truncated
    )
}
