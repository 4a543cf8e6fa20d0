//! The tallies that a report carries so that faults can be localised over several reports: who
//! reached whom, in stretches of time.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::{Timestamp, Transport};
use crate::detect::{CellTally, Reachability, Spell};
use crate::packet::IcmpKind;

/// The kinds of ICMP errors, to read their words back.
const ICMP: [IcmpKind; 6] = [
    IcmpKind::HostUnreachable,
    IcmpKind::PortUnreachable,
    IcmpKind::AdminProhibited,
    IcmpKind::PacketTooBig,
    IcmpKind::TimeExceeded,
    IcmpKind::Other,
];

/// Who reached whom, and when.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReachabilityV1 {
    /// Every group of clients with every server that it asked.
    pub cells: Vec<CellV1>,
    /// Flows of cells that were left out, because there are too many.
    #[serde(default)]
    pub flows_left_out: u64,
}

/// How one group of clients fared with one server: runs of failures without a success in between
/// one by one, and what lies between them by the minute, in lists of equal length.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CellV1 {
    /// The clients: their node, or the prefix that stands for it.
    pub clients: String,
    /// One of the clients.
    pub client: String,
    /// The server: the backend where it is known.
    pub server: String,
    /// The address that the clients asked.
    pub service: String,
    /// `udp` or `tcp`.
    pub transport: String,
    /// What the lists count from.
    pub from: String,
    /// When the first flow of each stretch between runs began, in microseconds.
    pub starts_us: Vec<u64>,
    /// When its last flow began, in microseconds.
    pub lasts_us: Vec<u64>,
    /// Its flows that were answered.
    pub answered: Vec<u64>,
    /// Its flows that failed.
    pub failed: Vec<u64>,
    /// Runs of failures, in the order of time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<RunV1>,
}

/// A run of failures without a success in between.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunV1 {
    /// When its first flow began.
    pub start: String,
    /// When its last flow began.
    pub last: String,
    /// When the last datagram of its flows was sent.
    pub end: String,
    /// Its flows.
    pub flows: u64,
    /// Clients that failed, a few of them.
    pub clients: Vec<String>,
    /// Flows whose answer came to the host and went no further.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub other_host: u64,
    /// Flows whose answer came from another address than the one asked.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub wrong_source: u64,
    /// Flows that ICMP rejected.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub icmp: Vec<IcmpV1>,
}

/// What ICMP said of failed flows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IcmpV1 {
    /// What it said.
    pub said: String,
    /// Who said it.
    pub from: String,
    /// Flows that it rejected.
    pub flows: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl ReachabilityV1 {
    /// The tallies of an analysis.
    pub(super) fn of(known: &Reachability) -> Self {
        Self { cells: known.cells.iter().map(cell).collect(), flows_left_out: known.left_out }
    }

    /// The tallies as localisation takes them. A cell that cannot be read is left out: it came
    /// from a file that anybody may have written.
    pub fn cells(&self) -> Vec<CellTally> {
        self.cells.iter().filter_map(read_cell).collect()
    }
}

fn cell(cell: &CellTally) -> CellV1 {
    let from = cell.spells.first().map_or(Timestamp::MIN, |spell| spell.start);
    let between: Vec<&Spell> = cell.spells.iter().filter(|one| !one.is_run()).collect();
    let micros = |at: Timestamp| u64::try_from(at.since(from).as_micros()).unwrap_or(u64::MAX);
    CellV1 {
        clients: cell.group.clone(),
        client: cell.client.to_string(),
        server: cell.server.to_string(),
        service: cell.service.to_string(),
        transport: cell.transport.to_string().to_lowercase(),
        from: from.to_string(),
        starts_us: between.iter().map(|spell| micros(spell.start)).collect(),
        lasts_us: between.iter().map(|spell| micros(spell.last)).collect(),
        answered: between.iter().map(|spell| spell.answered).collect(),
        failed: between.iter().map(|spell| spell.failed).collect(),
        runs: cell.spells.iter().filter(|spell| spell.is_run()).map(run).collect(),
    }
}

fn run(run: &Spell) -> RunV1 {
    let icmp = run.icmp.iter().map(|((kind, from), flows)| IcmpV1 {
        said: kind.to_string(),
        from: from.to_string(),
        flows: *flows,
    });
    RunV1 {
        start: run.start.to_string(),
        last: run.last.to_string(),
        end: run.end.to_string(),
        flows: run.failed,
        clients: run.clients.iter().map(ToString::to_string).collect(),
        other_host: run.other_host,
        wrong_source: run.wrong_source,
        icmp: icmp.collect(),
    }
}

fn read_cell(cell: &CellV1) -> Option<CellTally> {
    let from = Timestamp::parse(&cell.from)?;
    let at = |micros: u64| from.after(Duration::from_micros(micros));
    let starts = cell.starts_us.iter().zip(&cell.lasts_us);
    let counts = cell.answered.iter().zip(&cell.failed);
    let between = starts.zip(counts).map(|((start, last), (answered, failed))| {
        Some(Spell {
            answered: *answered,
            failed: *failed,
            ..Spell::between(at(*start), at(*last))
        })
    });
    let mut spells: Vec<Spell> =
        between.chain(cell.runs.iter().map(read_run)).collect::<Option<_>>()?;
    spells.sort();
    Some(CellTally {
        group: cell.clients.clone(),
        client: cell.client.parse().ok()?,
        server: cell.server.parse().ok()?,
        service: cell.service.parse().ok()?,
        transport: match cell.transport.as_str() {
            "udp" => Transport::Udp,
            "tcp" => Transport::Tcp,
            _ => return None,
        },
        spells,
    })
}

fn read_run(run: &RunV1) -> Option<Spell> {
    let address = |text: &String| text.parse::<IpAddr>().ok();
    let said = |word: &str| ICMP.into_iter().find(|kind| kind.to_string() == word);
    let icmp: Option<BTreeMap<_, _>> = run
        .icmp
        .iter()
        .map(|icmp| Some(((said(&icmp.said)?, address(&icmp.from)?), icmp.flows)))
        .collect();
    Some(Spell {
        end: Timestamp::parse(&run.end)?,
        failed: run.flows,
        clients: run.clients.iter().map(address).collect::<Option<_>>()?,
        other_host: run.other_host,
        wrong_source: run.wrong_source,
        icmp: icmp?,
        ..Spell::between(Timestamp::parse(&run.start)?, Timestamp::parse(&run.last)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tallies_come_back_as_they_were() {
        let at = |seconds| Timestamp::from_parts(seconds, 123_456_789);
        let client: IpAddr = "10.244.0.7".parse().unwrap();
        let server: IpAddr = "fd00::10".parse().unwrap();
        let known = Reachability {
            cells: vec![CellTally {
                group: "10.244.0.0/24".to_owned(),
                client,
                server,
                service: server,
                transport: Transport::Udp,
                spells: vec![
                    Spell { answered: 7, failed: 1, ..Spell::between(at(0), at(0)) },
                    Spell {
                        end: at(3),
                        failed: 4,
                        clients: vec![client],
                        other_host: 1,
                        wrong_source: 2,
                        icmp: BTreeMap::from([((IcmpKind::PortUnreachable, server), 3)]),
                        ..Spell::between(at(1), at(2))
                    },
                    Spell { answered: 9, ..Spell::between(at(4), at(60)) },
                ],
            }],
            left_out: 5,
        };
        let told = ReachabilityV1::of(&known);
        assert_eq!(told.cells(), known.cells);
        let strange = CellV1 { transport: "quic".to_owned(), ..told.cells[0].clone() };
        assert_eq!(ReachabilityV1 { cells: vec![strange], flows_left_out: 0 }.cells(), []);
    }
}
