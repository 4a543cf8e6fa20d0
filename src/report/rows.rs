//! One line for each lookup or transaction: `dnswhy lookups` and `dnswhy transactions`.

use serde::Serialize;

use super::escape::cell;
use crate::lookup::Lookup;
use crate::transaction::{Attempt, Hop, Outcome, Response, Transaction};

/// Names the file of a frame.
pub(super) type Path<'a> = &'a dyn Fn(crate::capture::FrameRef) -> String;

/// A lookup as `dnswhy lookups` prints it.
#[derive(Debug, Serialize)]
pub struct LookupRow {
    pub(super) client: String,
    pub(super) name: String,
    pub(super) types: Vec<String>,
    pub(super) start: String,
    pub(super) duration_seconds: Option<f64>,
    pub(super) outcome: &'static str,
    pub(super) attempts: usize,
    pub(super) servers: Vec<String>,
    pub(super) resolver: String,
    pub(super) suffixes_tried: usize,
    pub(super) approximate: bool,
    pub(super) file: String,
    pub(super) frame: u32,
}

impl LookupRow {
    /// The columns of CSV; lists are separated by spaces.
    pub const COLUMNS: [&'static str; 13] = [
        "client",
        "name",
        "types",
        "start",
        "duration_seconds",
        "outcome",
        "attempts",
        "servers",
        "resolver",
        "suffixes_tried",
        "approximate",
        "file",
        "frame",
    ];

    /// The cells of CSV, in the order of [`LookupRow::COLUMNS`].
    pub fn cells(&self) -> [String; 13] {
        [
            cell(&self.client),
            cell(&self.name),
            cell(&self.types.join(" ")),
            cell(&self.start),
            optional(self.duration_seconds),
            cell(self.outcome),
            self.attempts.to_string(),
            cell(&self.servers.join(" ")),
            cell(&self.resolver),
            self.suffixes_tried.to_string(),
            self.approximate.to_string(),
            cell(&self.file),
            self.frame.to_string(),
        ]
    }
}

/// A number, or nothing where there is none.
fn optional(number: Option<f64>) -> String {
    number.map_or_else(String::new, |number| number.to_string())
}

/// The row of a lookup.
pub fn lookup_row(lookup: &Lookup, path: Path<'_>) -> LookupRow {
    LookupRow {
        client: lookup.client.to_string(),
        name: lookup.name.to_string(),
        types: lookup.types.iter().map(ToString::to_string).collect(),
        start: lookup.start.ts.to_string(),
        duration_seconds: lookup.duration().map(|duration| duration.as_secs_f64()),
        outcome: lookup.outcome.word(),
        attempts: lookup.attempts(),
        servers: lookup.servers().iter().map(ToString::to_string).collect(),
        resolver: lookup.resolver.to_string(),
        suffixes_tried: lookup.suffixes_tried,
        approximate: lookup.approximate,
        file: path(lookup.start.at),
        frame: lookup.start.at.number(),
    }
}

/// A transaction as `dnswhy transactions` prints it.
#[derive(Debug, Serialize)]
pub struct TransactionRow {
    pub(super) client: String,
    pub(super) server: String,
    pub(super) backend: Option<String>,
    pub(super) masquerade: Option<String>,
    pub(super) transport: String,
    pub(super) id: u16,
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) rtype: String,
    pub(super) start: String,
    pub(super) outcome: &'static str,
    pub(super) rcode: Option<String>,
    pub(super) latency_ms: Option<f64>,
    pub(super) attempts: Vec<AttemptRow>,
    pub(super) responses: Vec<ResponseRow>,
}

impl TransactionRow {
    /// The columns of CSV. `attempts` and `responses` are counts; `frames` are all sightings of
    /// queries and responses as `file:frame`, separated by spaces.
    pub const COLUMNS: [&'static str; 15] = [
        "client",
        "server",
        "backend",
        "masquerade",
        "transport",
        "id",
        "name",
        "type",
        "start",
        "outcome",
        "rcode",
        "latency_ms",
        "attempts",
        "responses",
        "frames",
    ];

    /// The cells of CSV, in the order of [`TransactionRow::COLUMNS`].
    pub fn cells(&self) -> [String; 15] {
        let text = |text: &Option<String>| cell(text.as_deref().unwrap_or(""));
        [
            cell(&self.client),
            cell(&self.server),
            text(&self.backend),
            text(&self.masquerade),
            cell(&self.transport),
            self.id.to_string(),
            cell(&self.name),
            cell(&self.rtype),
            cell(&self.start),
            cell(self.outcome),
            text(&self.rcode),
            optional(self.latency_ms),
            self.attempts.len().to_string(),
            self.responses.len().to_string(),
            cell(&self.frames().join(" ")),
        ]
    }
}

impl TransactionRow {
    /// All sightings of queries and responses, as `file:frame`.
    pub(super) fn frames(&self) -> Vec<String> {
        let asked = self.attempts.iter().flat_map(|attempt| &attempt.frames);
        let told = self.responses.iter().flat_map(|response| &response.frames);
        asked.chain(told).map(|frame| format!("{}:{}", frame.file, frame.frame)).collect()
    }
}

#[derive(Debug, Serialize)]
pub(super) struct AttemptRow {
    time: String,
    frames: Vec<FrameRow>,
}

#[derive(Debug, Serialize)]
pub(super) struct ResponseRow {
    time: String,
    rcode: String,
    answers: u16,
    delivered: bool,
    frames: Vec<FrameRow>,
}

#[derive(Debug, Serialize)]
struct FrameRow {
    file: String,
    frame: u32,
    interface: Option<u32>,
    ttl: u8,
    client: String,
    server: String,
}

/// The row of a transaction.
pub fn transaction_row(transaction: &Transaction, path: Path<'_>) -> TransactionRow {
    let answer = transaction.answer();
    let outcome = transaction.outcome();
    TransactionRow {
        client: transaction.client.to_string(),
        server: transaction.server.to_string(),
        backend: transaction.backend().map(|backend| backend.to_string()),
        masquerade: transaction.masquerade.as_deref().map(ToString::to_string),
        transport: transaction.transport.to_string().to_lowercase(),
        id: transaction.id,
        name: transaction.question.name.to_string(),
        rtype: transaction.question.rtype.to_string(),
        start: transaction.first().ts.to_string(),
        outcome: outcome.word(),
        rcode: match outcome {
            Outcome::Unknown => None,
            _ => answer.map(|answer| answer.rcode.to_string()),
        },
        latency_ms: transaction.latency().map(|latency| latency.as_secs_f64() * 1e3),
        attempts: transaction.attempts.iter().map(|attempt| attempt_row(attempt, path)).collect(),
        responses: transaction.responses.iter().map(|r| response_row(r, path)).collect(),
    }
}

fn attempt_row(attempt: &Attempt, path: Path<'_>) -> AttemptRow {
    AttemptRow {
        time: attempt.sent().ts.to_string(),
        frames: attempt.hops.iter().map(|hop| frame_row(hop, path)).collect(),
    }
}

fn response_row(response: &Response, path: Path<'_>) -> ResponseRow {
    ResponseRow {
        time: response.arrived().ts.to_string(),
        rcode: response.rcode.to_string(),
        answers: response.header.answers,
        delivered: response.lost.is_none(),
        frames: response.hops.iter().map(|hop| frame_row(hop, path)).collect(),
    }
}

fn frame_row(hop: Hop, path: Path<'_>) -> FrameRow {
    FrameRow {
        file: path(hop.seen.at),
        frame: hop.seen.at.number(),
        interface: hop.via.interface,
        ttl: hop.via.ttl,
        client: hop.client.to_string(),
        server: hop.server.to_string(),
    }
}
