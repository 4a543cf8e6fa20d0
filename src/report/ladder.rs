//! The exchanges that prove an incident, packet by packet, for a sequence diagram.

use std::net::IpAddr;

use crate::base::words::Text;
use crate::capture::Seen;

/// The packets around the evidence of one incident, in capture time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ladder {
    /// The packets, copies folded.
    pub rungs: Vec<Rung>,
}

/// One packet on its way from one address to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rung {
    /// Where it can be opened.
    pub seen: Seen,
    /// Who sent it.
    pub from: IpAddr,
    /// To whom.
    pub to: IpAddr,
    /// What it is, in a few words.
    pub what: Text,
    /// What it means for the one who waits.
    pub kind: RungKind,
}

/// What a packet means for the one who waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RungKind {
    /// A query that was answered.
    Query,
    /// A query that nobody answered.
    Lost,
    /// An answer.
    Answer,
    /// An answer that says no, came too late, or did not arrive.
    Bad,
}
