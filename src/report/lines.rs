//! What every human report says of an incident and of the traffic, in the same words.

use std::cmp::Reverse;
use std::net::IpAddr;

use crate::analysis::{Analysis, ClientTally, LeftOut, ServerTally, Tally, Traffic};
use crate::base::words::{clock, count, duration, list};
use crate::incident::{Incident, Severity};

/// Culprits named in one line.
const CULPRITS: usize = 5;
/// Kinds of resolver named for one client.
const RESOLVERS: usize = 3;

/// Who was hurt, in one line.
pub(super) fn hurt(incident: &Incident) -> String {
    let affected = &incident.affected;
    if affected.lookups == 0 {
        return "nobody by itself".to_owned();
    }
    let delayed = affected.lookups - affected.failed;
    let mut parts = Vec::new();
    if affected.failed > 0 {
        parts.push(format!("{} failed", count(affected.failed, "lookup")));
    }
    if delayed > 0 {
        let noun = if affected.failed > 0 { delayed.to_string() } else { count(delayed, "lookup") };
        parts.push(format!("{noun} delayed"));
    }
    if !affected.added.is_zero() {
        parts.push(format!("{} added", duration(affected.added)));
    }
    if let Some(worst) = affected.worst {
        parts.push(format!("the worst took {}", duration(worst)));
    }
    let clients = affected.clients.len() as u64;
    parts.push(format!("{} ({})", count(clients, "client"), list(affected.clients.keys(), 3)));
    parts.join(", ")
}

/// Who is to blame, in one line.
pub(super) fn culprits(incident: &Incident) -> String {
    let culprits = &incident.cause.culprits;
    if culprits.is_empty() {
        return "not told by this capture".to_owned();
    }
    list(culprits.iter().map(|culprit| format!("{} {culprit}", culprit.kind())), CULPRITS)
}

/// The time window, in one line.
pub(super) fn window(incident: &Incident) -> String {
    let span = incident.cause.span;
    let ongoing =
        if incident.cause.ongoing { ", still going on when the capture ended" } else { "" };
    let (start, end) = (clock(span.start), clock(span.end));
    format!("{start} to {end} UTC ({}){ongoing}", duration(span.length()))
}

/// Whether it is loud enough for the first screen.
pub(super) fn is_loud(incident: &Incident) -> bool {
    incident.severity > Severity::Info
}

/// Ranks as people write them: `#4`, `#4-#9`, `#4, #6, #7`.
pub(super) fn ranks(ranks: impl IntoIterator<Item = usize>) -> String {
    let ranks: Vec<usize> = ranks.into_iter().collect();
    match (ranks.first(), ranks.last()) {
        (Some(first), Some(last)) if last - first + 1 == ranks.len() && first < last => {
            format!("#{first}-#{last}")
        }
        _ => list(ranks.iter().map(|rank| format!("#{rank}")), 4),
    }
}

/// Where a frame can be opened: `file:frame`.
pub(super) fn frame(analysis: &Analysis, at: crate::capture::FrameRef) -> String {
    format!("{}:{}", analysis.path(at), at.number)
}

/// What findings have to be read with in mind: serious gaps of the capture, inputs left out, damage.
pub(super) fn cautions(analysis: &Analysis) -> impl Iterator<Item = String> {
    let serious = analysis.health.iter().filter(|health| health.serious);
    let damaged = analysis.files.iter().flat_map(|file| {
        file.problems.iter().map(move |problem| format!("{}: {problem}", file.path))
    });
    focus(&analysis.outside)
        .into_iter()
        .chain(serious.map(|health| format!("{}: {}", health.rule, health.detail)))
        .chain(analysis.left_out.iter().cloned())
        .chain(damaged)
}

/// What this report does not look at.
pub(super) fn focus(outside: &LeftOut) -> Option<String> {
    if outside.focus.is_empty() {
        return None;
    }
    Some(format!(
        "only a part is looked at ({}): {} and {} outside of it are left out",
        outside.focus.join("; "),
        count(outside.transactions, "transaction"),
        count(outside.lookups, "lookup")
    ))
}

/// Every server, the busiest first.
pub(super) fn servers(analysis: &Analysis) -> Vec<(IpAddr, &ServerTally)> {
    let mut servers: Vec<_> = analysis.traffic.servers.iter().map(|(a, s)| (*a, s)).collect();
    servers.sort_by_key(|(address, server)| (Reverse(server.tally.queries), *address));
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
pub(super) fn looks_like(client: &ClientTally) -> String {
    let mut resolvers: Vec<_> = client.resolvers.iter().collect();
    resolvers.sort_by_key(|(resolver, lookups)| (Reverse(**lookups), **resolver));
    let names = resolvers.iter().take(RESOLVERS).map(|(resolver, _)| resolver.to_string());
    names.collect::<Vec<_>>().join(", ")
}

/// The transactions that can be judged: the whole that a share of losses is of.
pub(super) fn lost_of(tally: &Tally) -> u64 {
    tally.answered + tally.unanswered + tally.late
}

/// The lookups, in one sentence.
pub(super) fn lookups(traffic: &Traffic) -> String {
    let times = match (traffic.lookup_times.quantile(500), traffic.lookup_times.max()) {
        (Some(p50), Some(max)) => {
            format!("half took at most {}, the longest {}", duration(p50), duration(max))
        }
        _ => "none could be timed".to_owned(),
    };
    format!(
        "{}, {} failed, {} slower than 1 s; {times}",
        count(traffic.lookups, "lookup"),
        traffic.failed_lookups,
        traffic.slow_lookups,
    )
}

/// The transactions, in one sentence.
pub(super) fn questions(traffic: &Traffic) -> String {
    format!(
        "{}: {} answered, {} unanswered, {} late, {} unknown; {} in {} sent",
        count(traffic.transactions, "transaction"),
        traffic.answered,
        traffic.unanswered,
        traffic.late,
        traffic.unknown,
        count(traffic.retransmissions, "retransmission"),
        count(traffic.queries, "query"),
    )
}

/// The answers, in one sentence.
pub(super) fn answers(traffic: &Traffic) -> String {
    let rcodes = traffic.rcodes.iter().map(|(rcode, count)| format!("{rcode} {count}"));
    let rcodes = rcodes.collect::<Vec<_>>().join(", ");
    let rcodes = if rcodes.is_empty() { "none".to_owned() } else { rcodes };
    format!("{rcodes}; {} without data, {} truncated", traffic.nodata, traffic.truncated)
}
