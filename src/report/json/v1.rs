//! The structs of `dnswhy.report/1`: a contract. Fields are added, never renamed.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::reachability::ReachabilityV1;

/// The schema's name.
pub const SCHEMA: &str = "dnswhy.report/1";
/// The whole report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    /// Who the addresses of this report are, where somebody said so.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub names: BTreeMap<String, NameV1>,
    /// Who reached whom, for those who localise over several reports.
    #[serde(default)]
    pub reachability: ReachabilityV1,
    /// Which capture set of an archive this is; absent where it was not made by `batch`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<SetName>,
    /// Whether addresses and names stand for others.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub anonymized: bool,
}

/// A capture set of an archive: one capture point's ring.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SetName {
    /// Its place in the archive.
    pub name: String,
    /// The part of the archive whose addresses mean the same; empty where all of them do.
    pub scope: String,
}

/// Who an address is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NameV1 {
    /// `pod`, `service`, `node` or `external`.
    pub kind: String,
    /// Its namespace; null where it has none.
    pub namespace: Option<String>,
    /// Its own name.
    pub name: String,
    /// The node that it runs on; null where that is not known.
    pub node: Option<String>,
}

/// What made the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tool {
    /// `dnswhy`.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    /// What was asked to be looked at; absent where everything is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub focus: Option<FocusV1>,
}

/// What a report looks at, and what it leaves out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FocusV1 {
    /// Its bounds in words.
    pub bounds: Vec<String>,
    /// Transactions outside of it.
    pub transactions_left_out: u64,
    /// Lookups outside of it.
    pub lookups_left_out: u64,
}

/// One capture file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Point {
    /// Its name.
    pub name: String,
    /// Paths of its files.
    pub files: Vec<String>,
    /// First frame, by the clock of the reference point; null if there was none.
    pub start: Option<String>,
    /// Last frame, by the same clock; null if there was none.
    pub end: Option<String>,
    /// Where it stands: `client-node`, `dns-node`, `pod`, `upstream`, `between` or `unknown`; absent
    /// where there is one point alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// How far its clock is ahead of the reference point's, in milliseconds; absent where nothing was
    /// seen at both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset_ms: Option<f64>,
    /// How sure that is; absent where datagrams of one direction only bound it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uncertainty_ms: Option<f64>,
    /// How much faster its clock goes, in millionths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift_ppm: Option<f64>,
}

/// DNS messages as observed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HealthV1 {
    /// `cap-…`.
    pub rule: String,
    /// What it means here.
    pub detail: String,
    /// Whether findings have to be read with it in mind.
    pub serious: bool,
}

/// What was really sent and asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    /// The same over time.
    #[serde(default)]
    pub over_time: OverTime,
    /// Who asked whom, the most lost first.
    #[serde(default)]
    pub pairs: Vec<PairV1>,
}

/// Traffic over time: lists of equal length, one value for each bin.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OverTime {
    /// Where the first bin begins; null without traffic.
    pub start: Option<String>,
    /// How long a bin is.
    pub bin_seconds: f64,
    /// Transactions that began in it.
    pub transactions: Vec<u32>,
    /// Of them, those that nobody answered in time.
    pub unanswered: Vec<u32>,
    /// Of them, those answered with an error; NXDOMAIN is none.
    pub errors: Vec<u32>,
    /// Lookups that began in it and took a second or more.
    pub slow_lookups: Vec<u32>,
    /// Lookups that began in it and failed.
    pub failed_lookups: Vec<u32>,
}

/// What came of one client's questions to one server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PairV1 {
    /// Who asked.
    pub client: String,
    /// Who was asked: the backend where it is known.
    pub server: String,
    /// Transactions answered in time.
    pub answered: u64,
    /// Transactions answered too late, or not at all.
    pub unanswered: u64,
}

/// Quantiles; null where nothing was measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    /// Everything that its lookups look like, the most frequent first.
    #[serde(default)]
    pub resolvers: Vec<Resolver>,
    /// The suffixes of its search list in the order in which they are tried, as far as they are
    /// seen.
    #[serde(default)]
    pub search: Vec<String>,
    /// How many lookups show that list, less those that contradict it; counting stops at 32.
    #[serde(default)]
    pub search_lookups: u32,
    /// `ndots` is at least this, by names that were tried with a suffix first.
    #[serde(default)]
    pub ndots_at_least: Option<usize>,
    /// `ndots` is at most this, by names that were tried as they are first.
    #[serde(default)]
    pub ndots_at_most: Option<usize>,
    /// The addresses that it asks, at most four, in the order in which they first were.
    #[serde(default)]
    pub nameservers: Vec<String>,
    /// How long it waits before it asks the same server again, where that was seen.
    #[serde(default)]
    pub timeout_seconds: Option<f64>,
}

/// A kind of resolver that some of a client's lookups look like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Resolver {
    /// Its name.
    pub name: String,
    /// `probable` where at least three lookups behaved like it, else `possible`.
    pub confidence: String,
    /// How many lookups look like it.
    pub lookups: u64,
    /// What was observed, with the number of lookups, behaviour first.
    pub observed: Vec<String>,
}

/// The verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    /// `healthy`, `degraded`, `failing` or `inconclusive`.
    pub status: String,
    /// One sentence.
    pub headline: String,
}

/// One incident.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    /// A Wireshark display filter that shows it.
    #[serde(default)]
    pub display_filter: String,
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Culprit {
    /// `service`, `backend`, `upstream`, `client`, `client-subnet`, `path`, `name`, `zone` or
    /// `node`.
    pub kind: String,
    /// A bare address, prefix or name; a path is `A -> B`.
    pub value: String,
}

/// Whom an incident hurt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Impact {
    /// Transactions that failed.
    pub transactions: u64,
    /// Lookups that failed or waited.
    pub lookups: u64,
    /// Lookups that failed, or were told at once what their application cannot work with: the next two.
    pub failed_lookups: u64,
    /// Of those, lookups that were told at once that there is no such name or record.
    #[serde(default)]
    pub denied_lookups: u64,
    /// Of those, lookups that got a wrong answer.
    #[serde(default)]
    pub misled_lookups: u64,
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fact {
    /// What.
    pub label: String,
    /// How much.
    pub value: String,
}

/// A frame that proves something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Action {
    /// What for.
    pub why: String,
    /// What to type.
    pub command: String,
}

/// An explanation that was rejected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RuledOut {
    /// Its rule id.
    pub rule: String,
    /// Why.
    pub because: String,
}

/// A finding that the incident explains.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SymptomV1 {
    /// Its rule id.
    pub rule: String,
    /// What it says.
    pub title: String,
}
