//! What an analysis leaves behind: everything that a report shows.

use super::clocks::PointClock;
use super::focus::LeftOut;
use super::health::Health;
use super::roles::PointRole;
use super::series::Series;
use super::traffic::Traffic;
use super::verdict::Verdict;
use crate::base::words::Text;
use crate::base::{Coverage, Span};
use crate::capture::FileStats;
use crate::detect::Reachability;
use crate::incident::{Incident, Residual};
use crate::lookup::Profiles;
use crate::transaction::Nat;

/// What was read, what was wrong, and who was hurt.
#[derive(Debug, Clone)]
pub struct Analysis {
    /// Every file, in analysed order.
    pub files: Vec<FileAccount>,
    /// Inputs that were left out, and why.
    pub left_out: Vec<Text>,
    /// What lies outside the focus that was asked for.
    pub outside: LeftOut,
    /// Whether addresses and names are masked.
    pub masked: bool,
    /// Every capture point.
    pub points: Vec<PointAccount>,
    /// First and last frame; `None` if there was none.
    pub span: Option<Span>,
    /// The account of frames and messages.
    pub coverage: Coverage,
    /// What this capture cannot show.
    pub health: Vec<Health>,
    /// What was really sent and asked.
    pub traffic: Traffic,
    /// What asks, and how it is set up, client by client.
    pub profiles: Profiles,
    /// The same over time, and who reached whom.
    pub series: Series,
    /// The verdict.
    pub verdict: Verdict,
    /// Ranked, the worst first.
    pub incidents: Vec<Incident>,
    /// Harm that no incident explains.
    pub residual: Residual,
    /// Which addresses are translated to which.
    pub nat: Nat,
    /// Who reached whom, for those who localise over several analyses.
    pub reachability: Reachability,
}

/// One capture file.
#[derive(Debug, Clone)]
pub struct FileAccount {
    /// Its path, relative to the deepest folder with all inputs.
    pub path: String,
    /// Container and compression.
    pub format: String,
    /// Its capture point's name.
    pub point: String,
    /// Its size in bytes, if it is no stream.
    pub bytes: Option<u64>,
    /// What was read of it.
    pub stats: FileStats,
    /// What was wrong with it.
    pub problems: Vec<Text>,
}

/// One capture point.
#[derive(Debug, Clone)]
pub struct PointAccount {
    /// Its name.
    pub name: String,
    /// Its files, by their place in [`Analysis::files`].
    pub files: Vec<usize>,
    /// First and last frame, by the clock of the reference point.
    pub span: Option<Span>,
    /// How its clock goes by that of the reference point; `None` where nothing was seen at both.
    pub clock: Option<PointClock>,
    /// Where it stands, by what it sees; `None` where there is one point alone.
    pub role: Option<PointRole>,
    /// Whether all times are told by this point's clock.
    pub reference: bool,
}

impl Analysis {
    /// The path of the file that a frame is in.
    pub fn path(&self, at: crate::capture::FrameRef) -> &str {
        self.files.get(at.file().0 as usize).map_or("", |file| file.path.as_str())
    }
}
