//! From an analysis to the structs of the report.

use std::collections::BTreeMap;
use std::time::Duration;

use super::reachability::ReachabilityV1;
use super::v1::{
    Action, Capture, Client, Culprit, Evidence, Fact, File, FocusV1, HealthV1, Impact, IncidentV1,
    Messages, NameV1, OverTime, PairV1, Point, Quantiles, Report, Resolver, RuledOut, SCHEMA,
    Server, SymptomV1, Tool, Traffic, Verdict,
};
use crate::analysis::{Analysis, Bin, FileAccount, PointAccount, Series};
use crate::base::{Histogram, MessageCounts, Timestamp};
use crate::dns::Rcode;
use crate::incident::Incident;
use crate::lookup::Profile;
use crate::report::filter::display_filter;
use crate::report::view::View;

/// Clients listed one by one; the figures of the rest are in the totals.
const TOP_CLIENTS: usize = 50;
/// Pairs of client and server listed one by one.
const TOP_PAIRS: usize = 200;

impl Report {
    /// The report of an analysis.
    pub fn of(view: &View<'_>) -> Self {
        let analysis = view.analysis;
        Self {
            schema: SCHEMA.to_owned(),
            tool: Tool {
                name: env!("CARGO_PKG_NAME").to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
            },
            capture: capture(analysis),
            traffic: traffic(analysis),
            verdict: Verdict {
                status: analysis.verdict.status.to_string(),
                headline: analysis.verdict.headline.to_string(),
            },
            incidents: analysis
                .incidents
                .iter()
                .enumerate()
                .map(|(index, incident)| self::incident(index + 1, incident, analysis))
                .collect(),
            names: names(view),
            reachability: ReachabilityV1::of(&analysis.reachability),
            set: view.set.clone(),
            anonymized: analysis.masked,
        }
    }
}

fn time(ts: Timestamp) -> String {
    ts.to_string()
}

fn capture(analysis: &Analysis) -> Capture {
    let coverage = &analysis.coverage;
    Capture {
        files: analysis.files.iter().map(file).collect(),
        points: analysis.points.iter().map(|point| self::point(point, analysis)).collect(),
        left_out: strings(&analysis.left_out),
        start: analysis.span.map(|span| time(span.start)),
        end: analysis.span.map(|span| time(span.end)),
        duration_seconds: analysis.span.map_or(0.0, |span| span.length().as_secs_f64()),
        frames: coverage.frames,
        dns_frames: coverage.dns_frames,
        not_dns: coverage.not_dns,
        undecodable: coverage.undecodable.clone(),
        messages: messages(&coverage.messages),
        copies: coverage.copies,
        nat_copies: coverage.nat_copies,
        health: analysis
            .health
            .iter()
            .map(|health| HealthV1 {
                rule: health.rule.to_owned(),
                detail: health.detail.to_string(),
                serious: health.serious,
            })
            .collect(),
        focus: (!analysis.outside.focus.is_empty()).then(|| FocusV1 {
            bounds: strings(&analysis.outside.focus),
            transactions_left_out: analysis.outside.transactions,
            lookups_left_out: analysis.outside.lookups,
        }),
    }
}

/// The names of the addresses that this report mentions.
fn names(view: &View<'_>) -> BTreeMap<String, NameV1> {
    let traffic = &view.analysis.traffic;
    let nat = view.analysis.nat.services().map(|(service, _)| service);
    let peers = traffic.servers.keys().chain(traffic.clients.keys()).copied().chain(nat);
    peers
        .filter_map(|address| {
            let named = view.names.get(address)?;
            let name = NameV1 {
                kind: named.kind.to_owned(),
                namespace: named.namespace.clone(),
                name: named.name.clone(),
                node: named.node.clone(),
            };
            Some((address.to_string(), name))
        })
        .collect()
}

fn over_time(series: &Series) -> OverTime {
    let each = |value: fn(&Bin) -> u32| series.bins().iter().map(value).collect();
    OverTime {
        start: series.start().map(time),
        bin_seconds: series.width().as_secs_f64(),
        transactions: each(|bin| bin.transactions),
        unanswered: each(|bin| bin.unanswered),
        errors: each(|bin| bin.errors),
        slow_lookups: each(|bin| bin.stalled),
        failed_lookups: each(|bin| bin.failed),
    }
}

fn pairs(series: &Series) -> Vec<PairV1> {
    let mut pairs: Vec<_> = series.pairs.iter().collect();
    pairs.sort_by_key(|(key, pair)| (std::cmp::Reverse((pair.unanswered, pair.answered)), **key));
    let pairs = pairs.into_iter().take(TOP_PAIRS);
    pairs
        .map(|((client, server), pair)| PairV1 {
            client: client.to_string(),
            server: server.to_string(),
            answered: pair.answered,
            unanswered: pair.unanswered,
        })
        .collect()
}

fn file(file: &FileAccount) -> File {
    File {
        path: file.path.clone(),
        format: file.format.clone(),
        link_types: file.stats.link_types.iter().map(ToString::to_string).collect(),
        point: file.point.clone(),
        frames: file.stats.frames,
        bytes: file.bytes,
        start: file.stats.span.map(|span| time(span.start)),
        end: file.stats.span.map(|span| time(span.end)),
        problems: strings(&file.problems),
    }
}

fn point(point: &PointAccount, analysis: &Analysis) -> Point {
    let path = |index: &usize| analysis.files.get(*index).map(|file| file.path.clone());
    let clock = point.clock.as_ref();
    Point {
        name: point.name.clone(),
        files: point.files.iter().filter_map(path).collect(),
        start: point.span.map(|span| time(span.start)),
        end: point.span.map(|span| time(span.end)),
        role: point.role.map(|role| role.to_string()),
        offset_ms: clock.map(|clock| clock.offset as f64 / 1e6),
        uncertainty_ms: clock.and_then(|clock| clock.uncertainty).map(|nanos| nanos as f64 / 1e6),
        drift_ppm: clock.map(|clock| clock.drift as f64 / 1e3),
    }
}

fn messages(counts: &MessageCounts) -> Messages {
    let rcodes = (0_u16..).zip(counts.rcodes);
    Messages {
        total: counts.total,
        udp: counts.udp,
        tcp: counts.tcp,
        queries: counts.queries,
        responses: counts.responses,
        rcodes: rcodes
            .filter(|(_, count)| *count > 0)
            .map(|(rcode, count)| (Rcode(rcode).to_string(), count))
            .collect(),
        nodata: counts.nodata,
        truncated: counts.truncated,
    }
}

fn quantiles(histogram: &Histogram, unit: f64) -> Quantiles {
    let value = |duration: Option<Duration>| duration.map(|d| d.as_secs_f64() * unit);
    Quantiles {
        p50: value(histogram.quantile(500)),
        p90: value(histogram.quantile(900)),
        p95: value(histogram.quantile(950)),
        p99: value(histogram.quantile(990)),
        max: value(histogram.max()),
    }
}

/// Milliseconds in a second.
const MS: f64 = 1e3;

fn named<'a>(rcodes: impl Iterator<Item = (&'a Rcode, &'a u64)>) -> BTreeMap<String, u64> {
    rcodes.map(|(rcode, count)| (rcode.to_string(), *count)).collect()
}

fn traffic(analysis: &Analysis) -> Traffic {
    let traffic = &analysis.traffic;
    let mut servers: Vec<Server> = traffic
        .servers
        .iter()
        .map(|(address, server)| Server {
            address: address.to_string(),
            role: server.role.to_string(),
            queries: server.tally.queries,
            answered: server.tally.answered,
            unanswered: server.tally.unanswered,
            late: server.tally.late,
            rcodes: named(server.tally.rcodes.iter()),
            latency_ms: quantiles(&server.tally.latency, MS),
        })
        .collect();
    // Stable, so that equals stay in the order of their addresses.
    servers.sort_by_key(|server| std::cmp::Reverse(server.queries));
    let mut most_active: Vec<_> = traffic.clients.iter().collect();
    // Stable, so that equals stay in the order of their addresses.
    most_active.sort_by_key(|(_, client)| std::cmp::Reverse(client.tally.queries));
    let clients: Vec<Client> = most_active
        .into_iter()
        .take(TOP_CLIENTS)
        .map(|(address, client)| {
            let profile = analysis.profiles.of(*address);
            let profile = profile.as_ref();
            let most = client.resolvers.iter().max_by_key(|(_, lookups)| **lookups);
            Client {
                address: address.to_string(),
                queries: client.tally.queries,
                answered: client.tally.answered,
                unanswered: client.tally.unanswered,
                late: client.tally.late,
                rcodes: named(client.tally.rcodes.iter()),
                latency_ms: quantiles(&client.tally.latency, MS),
                lookups: client.lookups,
                failed_lookups: client.failed_lookups,
                slow_lookups: client.slow_lookups,
                resolver: most.map_or_else(String::new, |(resolver, _)| resolver.to_string()),
                resolvers: profile.map_or_else(Vec::new, resolvers),
                search: profile.map_or_else(Vec::new, |known| strings(&known.search)),
                search_lookups: profile.map_or(0, |known| known.search_lookups),
                ndots_at_least: profile.and_then(|known| known.ndots_at_least),
                ndots_at_most: profile.and_then(|known| known.ndots_at_most),
                nameservers: profile.map_or_else(Vec::new, |known| strings(&known.nameservers)),
                timeout_seconds: profile.and_then(|known| Some(known.timeout?.as_secs_f64())),
            }
        })
        .collect();
    Traffic {
        queries: traffic.queries,
        responses: traffic.responses,
        transactions: traffic.transactions,
        answered: traffic.answered,
        unanswered: traffic.unanswered,
        late: traffic.late,
        unknown: traffic.unknown,
        retransmissions: traffic.retransmissions,
        unsolicited_responses: traffic.unsolicited,
        lookups: traffic.lookups,
        failed_lookups: traffic.failed_lookups,
        slow_lookups: traffic.slow_lookups,
        unexplained_failed_lookups: analysis.residual.failed,
        unexplained_slow_lookups: analysis.residual.slow,
        rcodes: named(traffic.rcodes.iter()),
        nodata: traffic.nodata,
        truncated: traffic.truncated,
        latency_ms: quantiles(&traffic.latency, MS),
        lookup_seconds: quantiles(&traffic.lookup_times, 1.0),
        servers,
        clients,
        over_time: over_time(&analysis.series),
        pairs: pairs(&analysis.series),
    }
}

fn strings<T: std::fmt::Display>(items: &[T]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

fn resolvers(profile: &Profile) -> Vec<Resolver> {
    profile
        .fingerprints
        .iter()
        .map(|known| Resolver {
            name: known.resolver.to_string(),
            confidence: known.confidence.to_string(),
            lookups: known.lookups,
            observed: strings(&known.observed),
        })
        .collect()
}

fn incident(rank: usize, incident: &Incident, analysis: &Analysis) -> IncidentV1 {
    let (cause, affected) = (&incident.cause, &incident.affected);
    let mut names: Vec<(&String, &u64)> = affected.names.iter().collect();
    names.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), *name));
    IncidentV1 {
        rank,
        rule: cause.rule.id.to_owned(),
        title: cause.title.to_string(),
        severity: incident.severity.to_string(),
        confidence: cause.confidence.to_string(),
        score: incident.score,
        culprits: cause
            .culprits
            .iter()
            .map(|culprit| Culprit { kind: culprit.kind().to_owned(), value: culprit.to_string() })
            .collect(),
        place: cause.place.to_string(),
        start: time(cause.span.start),
        end: time(cause.span.end),
        ongoing: cause.ongoing,
        impact: Impact {
            transactions: affected.transactions,
            lookups: affected.lookups,
            failed_lookups: affected.failed,
            denied_lookups: affected.denied,
            misled_lookups: affected.misled,
            clients: affected.clients.len(),
            names: affected.names.len(),
            top_names: names.iter().take(5).map(|(name, _)| (*name).clone()).collect(),
            added_seconds: affected.added.as_secs_f64(),
            worst_lookup_seconds: affected.worst.map(|worst| worst.as_secs_f64()),
        },
        pattern: incident.pattern.to_string(),
        display_filter: display_filter(incident),
        name_kinds: affected.kinds.iter().map(ToString::to_string).collect(),
        cause: cause.cause.to_string(),
        facts: cause
            .facts
            .iter()
            .map(|fact| Fact { label: fact.label.to_string(), value: fact.value.to_string() })
            .collect(),
        evidence: cause
            .evidence
            .iter()
            .map(|proof| Evidence {
                file: analysis.path(proof.seen.at).to_owned(),
                frame: proof.seen.at.number(),
                time: time(proof.seen.ts),
                summary: proof.summary.to_string(),
            })
            .collect(),
        actions: cause
            .actions
            .iter()
            .map(|action| Action { why: action.why.to_string(), command: action.command.clone() })
            .collect(),
        ruled_out: cause
            .ruled_out
            .iter()
            .map(|out| RuledOut { rule: out.rule.to_owned(), because: out.because.to_string() })
            .collect(),
        symptoms: incident
            .symptoms
            .iter()
            .map(|symptom| SymptomV1 {
                rule: symptom.rule.to_owned(),
                title: symptom.title.to_string(),
            })
            .collect(),
    }
}
