//! The structs of `dnswhy.report/1`: a contract. Fields are added, never renamed.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::analysis::{Analysis, FileAccount, PointAccount};
use crate::base::{Histogram, MessageCounts, Timestamp};
use crate::dns::Rcode;
use crate::incident::Incident;

/// The schema's name.
pub const SCHEMA: &str = "dnswhy.report/1";
/// Clients listed one by one; the figures of the rest are in the totals.
const TOP_CLIENTS: usize = 50;

/// The whole report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// What made it.
    pub tool: Tool,
    /// What was read.
    pub capture: Capture,
    /// What was really sent and asked.
    pub traffic: Traffic,
    /// The verdict.
    pub verdict: Verdict,
    /// Ranked, the worst first.
    pub incidents: Vec<IncidentV1>,
}

/// What made the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    /// `dnswhy`.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Capture {
    /// Every file, in the order of their first frames.
    pub files: Vec<File>,
    /// Every capture point.
    pub points: Vec<Point>,
    /// Inputs that were left out, with the reason.
    pub left_out: Vec<String>,
    /// First frame; null if there was none.
    pub start: Option<String>,
    /// Last frame; null if there was none.
    pub end: Option<String>,
    /// From the first to the last frame.
    pub duration_seconds: f64,
    /// All frames.
    pub frames: u64,
    /// Frames that a DNS message ends in.
    pub dns_frames: u64,
    /// Frames that hold no DNS.
    pub not_dns: u64,
    /// Frames that could not be understood, by reason.
    pub undecodable: BTreeMap<String, u64>,
    /// DNS messages as observed, copies and all.
    pub messages: Messages,
    /// Further sightings of a datagram with unchanged addresses.
    pub copies: u64,
    /// Further sightings of a datagram with translated addresses.
    pub nat_copies: u64,
    /// What this capture cannot show.
    pub health: Vec<HealthV1>,
}

/// One capture file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Relative to the deepest folder with all inputs.
    pub path: String,
    /// Container and compression.
    pub format: String,
    /// Link types of its frames.
    pub link_types: Vec<String>,
    /// Its capture point.
    pub point: String,
    /// Its frames.
    pub frames: u64,
    /// Its size in bytes; null for a stream.
    pub bytes: Option<u64>,
    /// Earliest timestamp; null without frames.
    pub start: Option<String>,
    /// Latest timestamp; null without frames.
    pub end: Option<String>,
    /// What was wrong with it.
    pub problems: Vec<String>,
}

/// One capture point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    /// Its name.
    pub name: String,
    /// Paths of its files.
    pub files: Vec<String>,
    /// First frame; null if there was none.
    pub start: Option<String>,
    /// Last frame; null if there was none.
    pub end: Option<String>,
}

/// DNS messages as observed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Messages {
    /// All.
    pub total: u64,
    /// Over UDP.
    pub udp: u64,
    /// Over TCP.
    pub tcp: u64,
    /// With QR = 0.
    pub queries: u64,
    /// With QR = 1.
    pub responses: u64,
    /// Responses by the header's four bits of RCODE.
    pub rcodes: BTreeMap<String, u64>,
    /// NOERROR responses with an answer count of 0.
    pub nodata: u64,
    /// Responses with TC.
    pub truncated: u64,
}

/// One thing to know about the capture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthV1 {
    /// `cap-…`.
    pub rule: String,
    /// What it means here.
    pub detail: String,
    /// Whether findings have to be read with it in mind.
    pub serious: bool,
}

/// What was really sent and asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    /// Query datagrams.
    pub queries: u64,
    /// Responses.
    pub responses: u64,
    /// Questions from one socket with one id.
    pub transactions: u64,
    /// Answered in time.
    pub answered: u64,
    /// Not answered, or rejected by ICMP.
    pub unanswered: u64,
    /// Answered too late.
    pub late: u64,
    /// Cannot be judged.
    pub unknown: u64,
    /// Repeated query datagrams.
    pub retransmissions: u64,
    /// Responses whose query is not in the capture.
    pub unsolicited_responses: u64,
    /// Lookups.
    pub lookups: u64,
    /// Lookups that failed.
    pub failed_lookups: u64,
    /// Lookups that took a second or more without failing.
    pub slow_lookups: u64,
    /// Failed lookups that no incident explains.
    pub unexplained_failed_lookups: u64,
    /// Delayed lookups that no incident explains.
    pub unexplained_slow_lookups: u64,
    /// Answers by full response code.
    pub rcodes: BTreeMap<String, u64>,
    /// NODATA as in RFC 2308.
    pub nodata: u64,
    /// Truncated answers.
    pub truncated: u64,
    /// From first query to answer, in milliseconds.
    pub latency_ms: Quantiles,
    /// Lookups as felt, in seconds.
    pub lookup_seconds: Quantiles,
    /// Every server, the busiest first.
    pub servers: Vec<Server>,
    /// The busiest clients.
    pub clients: Vec<Client>,
}

/// Quantiles; null where nothing was measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// Median.
    pub p50: Option<f64>,
    /// 90 %.
    pub p90: Option<f64>,
    /// 95 %.
    pub p95: Option<f64>,
    /// 99 %.
    pub p99: Option<f64>,
    /// The largest value.
    pub max: Option<f64>,
}

/// One server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Server {
    /// Its address.
    pub address: String,
    /// `service`, `backend`, `upstream` or `server`.
    pub role: String,
    /// Query datagrams to it.
    pub queries: u64,
    /// Transactions that it answered in time.
    pub answered: u64,
    /// Transactions that it did not answer.
    pub unanswered: u64,
    /// Transactions that it answered too late.
    pub late: u64,
    /// Its answers by response code.
    pub rcodes: BTreeMap<String, u64>,
    /// In milliseconds.
    pub latency_ms: Quantiles,
}

/// One client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Client {
    /// Its address.
    pub address: String,
    /// Query datagrams from it.
    pub queries: u64,
    /// Transactions answered in time.
    pub answered: u64,
    /// Transactions not answered.
    pub unanswered: u64,
    /// Transactions answered too late.
    pub late: u64,
    /// Answers by response code.
    pub rcodes: BTreeMap<String, u64>,
    /// In milliseconds.
    pub latency_ms: Quantiles,
    /// Lookups.
    pub lookups: u64,
    /// Lookups that failed.
    pub failed_lookups: u64,
    /// Lookups that took a second or more without failing.
    pub slow_lookups: u64,
    /// The resolver that most of its lookups look like.
    pub resolver: String,
}

/// The verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// `healthy`, `degraded`, `failing` or `inconclusive`.
    pub status: String,
    /// One sentence.
    pub headline: String,
}

/// One incident.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IncidentV1 {
    /// 1 is the worst.
    pub rank: usize,
    /// Rule id.
    pub rule: String,
    /// One sentence.
    pub title: String,
    /// `critical`, `high`, `medium`, `low` or `info`.
    pub severity: String,
    /// `confirmed`, `likely` or `possible`.
    pub confidence: String,
    /// 0 to 100.
    pub score: u8,
    /// Who is to blame, the foremost first.
    pub culprits: Vec<Culprit>,
    /// Where datagrams died or waited.
    #[serde(rename = "where")]
    pub place: String,
    /// First bad packet.
    pub start: String,
    /// Last bad packet.
    pub end: String,
    /// Whether it went on when the capture ended.
    pub ongoing: bool,
    /// Whom it hurt.
    pub impact: Impact,
    /// When it happens.
    pub pattern: String,
    /// Kinds of the names that were harmed.
    pub name_kinds: Vec<String>,
    /// Mechanism and root cause in words.
    pub cause: String,
    /// What was measured.
    pub facts: Vec<Fact>,
    /// The frames that prove it.
    pub evidence: Vec<Evidence>,
    /// What to do next.
    pub actions: Vec<Action>,
    /// What it is not.
    pub ruled_out: Vec<RuledOut>,
    /// Findings that it explains.
    pub symptoms: Vec<SymptomV1>,
}

/// Who is to blame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Culprit {
    /// `service`, `backend`, `upstream`, `client`, `client-subnet`, `path`, `name`, `zone` or
    /// `node`.
    pub kind: String,
    /// A bare address, prefix or name; a path is `A -> B`.
    pub value: String,
}

/// Whom an incident hurt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Impact {
    /// Transactions that failed.
    pub transactions: u64,
    /// Lookups that failed or waited.
    pub lookups: u64,
    /// Lookups that failed.
    pub failed_lookups: u64,
    /// Clients hurt.
    pub clients: usize,
    /// Names hurt.
    pub names: usize,
    /// The names hurt most.
    pub top_names: Vec<String>,
    /// Waiting time beyond the usual, summed.
    pub added_seconds: f64,
    /// The longest lookup.
    pub worst_lookup_seconds: Option<f64>,
}

/// A measured fact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// What.
    pub label: String,
    /// How much.
    pub value: String,
}

/// A frame that proves something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The file.
    pub file: String,
    /// The frame number that Wireshark shows for that file.
    pub frame: u32,
    /// Its timestamp.
    pub time: String,
    /// What it shows.
    pub summary: String,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// What for.
    pub why: String,
    /// What to type.
    pub command: String,
}

/// An explanation that was rejected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuledOut {
    /// Its rule id.
    pub rule: String,
    /// Why.
    pub because: String,
}

/// A finding that the incident explains.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SymptomV1 {
    /// Its rule id.
    pub rule: String,
    /// What it says.
    pub title: String,
}

impl Report {
    /// The report of an analysis.
    pub fn of(analysis: &Analysis) -> Self {
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
                headline: analysis.verdict.headline.clone(),
            },
            incidents: analysis
                .incidents
                .iter()
                .enumerate()
                .map(|(index, incident)| self::incident(index + 1, incident, analysis))
                .collect(),
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
        left_out: analysis.left_out.clone(),
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
                detail: health.detail.clone(),
                serious: health.serious,
            })
            .collect(),
    }
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
        problems: file.problems.clone(),
    }
}

fn point(point: &PointAccount, analysis: &Analysis) -> Point {
    let path = |index: &usize| analysis.files.get(*index).map(|file| file.path.clone());
    Point {
        name: point.name.clone(),
        files: point.files.iter().filter_map(path).collect(),
        start: point.span.map(|span| time(span.start)),
        end: point.span.map(|span| time(span.end)),
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

fn named(rcodes: &BTreeMap<Rcode, u64>) -> BTreeMap<String, u64> {
    rcodes.iter().map(|(rcode, count)| (rcode.to_string(), *count)).collect()
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
            rcodes: named(&server.tally.rcodes),
            latency_ms: quantiles(&server.tally.latency, MS),
        })
        .collect();
    // Stable, so that equals stay in the order of their addresses.
    servers.sort_by_key(|server| std::cmp::Reverse(server.queries));
    let mut clients: Vec<Client> = traffic
        .clients
        .iter()
        .map(|(address, client)| {
            let most = client.resolvers.iter().max_by_key(|(_, lookups)| **lookups);
            Client {
                address: address.to_string(),
                queries: client.tally.queries,
                answered: client.tally.answered,
                unanswered: client.tally.unanswered,
                late: client.tally.late,
                rcodes: named(&client.tally.rcodes),
                latency_ms: quantiles(&client.tally.latency, MS),
                lookups: client.lookups,
                failed_lookups: client.failed_lookups,
                slow_lookups: client.slow_lookups,
                resolver: most.map_or_else(String::new, |(resolver, _)| resolver.to_string()),
            }
        })
        .collect();
    clients.sort_by_key(|client| std::cmp::Reverse(client.queries));
    clients.truncate(TOP_CLIENTS);
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
        rcodes: named(&traffic.rcodes),
        nodata: traffic.nodata,
        truncated: traffic.truncated,
        latency_ms: quantiles(&traffic.latency, MS),
        lookup_seconds: quantiles(&traffic.lookup_times, 1.0),
        servers,
        clients,
    }
}

fn incident(rank: usize, incident: &Incident, analysis: &Analysis) -> IncidentV1 {
    let (cause, affected) = (&incident.cause, &incident.affected);
    let mut names: Vec<(&String, &u64)> = affected.names.iter().collect();
    names.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), *name));
    IncidentV1 {
        rank,
        rule: cause.rule.id.to_owned(),
        title: cause.title.clone(),
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
            clients: affected.clients.len(),
            names: affected.names.len(),
            top_names: names.iter().take(5).map(|(name, _)| (*name).clone()).collect(),
            added_seconds: affected.added.as_secs_f64(),
            worst_lookup_seconds: affected.worst.map(|worst| worst.as_secs_f64()),
        },
        pattern: incident.pattern.to_string(),
        name_kinds: affected.kinds.iter().map(ToString::to_string).collect(),
        cause: cause.cause.clone(),
        facts: cause
            .facts
            .iter()
            .map(|fact| Fact { label: fact.label.to_owned(), value: fact.value.clone() })
            .collect(),
        evidence: cause
            .evidence
            .iter()
            .map(|proof| Evidence {
                file: analysis.path(proof.seen.at).to_owned(),
                frame: proof.seen.at.number,
                time: time(proof.seen.ts),
                summary: proof.summary.clone(),
            })
            .collect(),
        actions: cause
            .actions
            .iter()
            .map(|action| Action { why: action.why.clone(), command: action.command.clone() })
            .collect(),
        ruled_out: cause
            .ruled_out
            .iter()
            .map(|out| RuledOut { rule: out.rule.to_owned(), because: out.because.clone() })
            .collect(),
        symptoms: incident
            .symptoms
            .iter()
            .map(|symptom| SymptomV1 {
                rule: symptom.rule.to_owned(),
                title: symptom.title.clone(),
            })
            .collect(),
    }
}
