//! What is told: the same for a terminal and, as `dnswhy.explain/1`, for programs.

use serde::Serialize;

use crate::base::Timestamp;
use crate::base::words::Text;

/// Everything that is told of one frame or lookup.
#[derive(Debug, Clone, Serialize)]
pub struct Story {
    /// `dnswhy.explain/1`.
    pub schema: &'static str,
    /// The frame that was asked about.
    pub frame: Option<FrameStory>,
    /// The lookup that it belongs to, if it belongs to one.
    pub lookup: Option<LookupStory>,
    /// What happened, in order of time.
    pub ladder: Vec<Rung>,
    /// `normal`, `abnormal` or `unknown`.
    pub verdict: &'static str,
    /// Why, the foremost reason first.
    pub reasons: Vec<Text>,
    /// The incident that this lookup is charged to.
    pub incident: Option<IncidentStory>,
}

/// The frame that was asked about.
#[derive(Debug, Clone, Serialize)]
pub struct FrameStory {
    /// Its file.
    pub file: String,
    /// Its number, as Wireshark counts.
    pub frame: u32,
    /// When it was captured.
    pub time: String,
    /// What it is by itself.
    pub what: Text,
    /// What it is to the lookup, or why it belongs to none.
    pub part: Text,
}

/// The lookup, as the application felt it.
#[derive(Debug, Clone, Serialize)]
pub struct LookupStory {
    /// Who asked.
    pub client: String,
    /// The name, as far as it shows before any search suffix.
    pub name: String,
    /// The types asked for.
    pub types: Vec<String>,
    /// The first query.
    pub start: String,
    /// `ok`, `negative`, `error`, `timeout` or `unknown`.
    pub outcome: Text,
    /// How long the application waited.
    pub duration_seconds: Option<f64>,
    /// The part of that beyond what is usual in this capture.
    pub added_seconds: Option<f64>,
    /// Half of the lookups that met no stall took at most this.
    pub usual_seconds: Option<f64>,
    /// Query datagrams sent.
    pub attempts: usize,
    /// The addresses asked.
    pub servers: Vec<String>,
    /// What asked, as far as it can be told.
    pub resolver: Text,
    /// What this lookup shows of it.
    pub observed: Vec<Text>,
    /// Candidate names with a search suffix.
    pub suffixes_tried: usize,
    /// What the application will have printed.
    pub printed: Option<&'static str>,
}

/// The incident that a lookup is charged to.
#[derive(Debug, Clone, Serialize)]
pub struct IncidentStory {
    /// Its rank in the report.
    pub rank: usize,
    /// Its rule.
    pub rule: &'static str,
    /// Its title.
    pub title: Text,
}

/// One event on the ladder.
#[derive(Debug, Clone, Serialize)]
pub struct Rung {
    /// Seconds after the first query.
    pub offset_seconds: f64,
    /// When.
    pub time: String,
    /// What kind of event it is.
    pub event: Event,
    /// What happened.
    pub text: Text,
    /// What came of it, where that is worth a word.
    pub verdict: Option<Text>,
    /// Every sighting of the datagram, copies and NAT legs.
    pub seen: Vec<Sighting>,
    /// Whether the frame that was asked about is one of them.
    pub asked_about: bool,
    #[serde(skip)]
    pub(super) at: Timestamp,
}

/// The kind of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// A name of the search begins.
    Candidate,
    /// The client asks.
    Query,
    /// A TCP connection.
    Connection,
    /// What the server asks others meanwhile, or is asked by others.
    Leg,
    /// A response.
    Answer,
    /// An ICMP error.
    Icmp,
    /// Nothing happens.
    Wait,
    /// The application has its result.
    End,
}

/// One sighting of a datagram.
#[derive(Debug, Clone, Serialize)]
pub struct Sighting {
    /// The file.
    pub file: String,
    /// The frame.
    pub frame: u32,
    /// When, with the capture's own resolution.
    pub time: String,
    /// The capture point; empty where there is but one.
    pub point: String,
    /// Interface index on the capturing host.
    pub interface: Option<u32>,
    /// `in`, `out`, `broadcast`, `multicast` or `other-host`.
    pub direction: Option<Text>,
    /// TTL or hop limit; not kept for ICMP errors.
    pub ttl: Option<u8>,
    /// The client's address as written there.
    pub client: String,
    /// The server's address as written there: before or after translation.
    pub server: String,
    /// Whether it is the frame that was asked about.
    pub asked_about: bool,
}
