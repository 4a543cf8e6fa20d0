//! What every human report says of an incident, in the same words.

use crate::analysis::Analysis;
use crate::base::words::{clock, count, duration, list};
use crate::incident::{Incident, Severity};

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
    parts.push(format!("{} added", duration(affected.added)));
    if let Some(worst) = affected.worst {
        parts.push(format!("the worst took {}", duration(worst)));
    }
    let clients = affected.clients.len() as u64;
    parts.push(format!("{} ({})", count(clients, "client"), list(affected.clients.keys(), 3)));
    parts.join(", ")
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

/// Where a frame can be opened: `file:frame`.
pub(super) fn frame(analysis: &Analysis, at: crate::capture::FrameRef) -> String {
    format!("{}:{}", analysis.path(at), at.number)
}
