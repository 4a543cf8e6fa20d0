//! The words of a story: places, answers, how far a datagram came.

use std::net::IpAddr;

use super::model::Sighting;
use crate::analysis::Analysis;
use crate::base::words::{duration, list};
use crate::capture::FrameRef;
use crate::dns::AnswerKind;
use crate::packet::Direction;
use crate::transaction::{Attempt, Hop, Hops, Response, Stage, Undelivered, Waypoint};

/// Addresses of an answer that are spelled out.
const ADDRESSES: usize = 3;

/// The word for a packet type.
pub(super) fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Host => "in",
        Direction::Outgoing => "out",
        Direction::Broadcast => "broadcast",
        Direction::Multicast => "multicast",
        Direction::OtherHost => "other-host",
    }
}

/// Every sighting of a datagram.
pub(super) fn sightings(
    hops: &[Hop],
    analysis: &Analysis,
    asked: Option<FrameRef>,
) -> Vec<Sighting> {
    let many = analysis.points.len() > 1;
    let point = |hop: &Hop| {
        let name = analysis.points.get(usize::from(hop.via.point.0)).filter(|_| many);
        name.map_or_else(String::new, |point| point.name.clone())
    };
    hops.iter()
        .map(|hop| Sighting {
            file: analysis.path(hop.seen.at).to_owned(),
            frame: hop.seen.at.number,
            time: hop.seen.ts.to_string(),
            point: point(hop),
            interface: hop.via.interface,
            direction: hop.via.direction.map(direction),
            ttl: Some(hop.via.ttl),
            client: hop.client.to_string(),
            server: hop.server.to_string(),
            asked_about: asked == Some(hop.seen.at),
        })
        .collect()
}

/// A place on the way, in words.
fn place(interface: Option<u32>, packet_type: Option<Direction>, ttl: u8) -> String {
    let mut words = Vec::new();
    words.extend(interface.map(|index| format!("interface {index}")));
    words.extend(packet_type.map(|kind| direction(kind).to_owned()));
    words.push(format!("TTL {ttl}"));
    words.join(", ")
}

fn waypoint(place_of: &Waypoint) -> String {
    place(place_of.interface, place_of.direction, place_of.ttl)
}

/// Where a datagram was seen last.
pub(super) fn last_place(hops: &Hops) -> String {
    hops.iter().max_by_key(|hop| hop.seen).map_or_else(
        || "nowhere".to_owned(),
        |hop| place(hop.via.interface, hop.via.direction, hop.via.ttl),
    )
}

/// How far a query came that nobody answered.
pub(super) fn vanished(attempt: &Attempt) -> String {
    let Some(vanish) = attempt.vanish else {
        if attempt.hops.iter().all(|hop| hop.via.interface.is_none()) {
            return "this capture shows but one place of its way".to_owned();
        }
        return format!(
            "last seen: {}; too few healthy queries took this way to say where it ends",
            last_place(&attempt.hops)
        );
    };
    let seen = waypoint(&vanish.last);
    let missing = vanish.missing.as_ref().map(waypoint).unwrap_or_default();
    match vanish.stage {
        Stage::BeforeTranslation => format!(
            "last seen: {seen}; it is missing where healthy ones come next ({missing}), before its \
             address was translated: dropped on this host, by the raw table or by conntrack"
        ),
        Stage::OnHost => format!(
            "last seen: {seen}; it is missing where healthy ones come next ({missing}): dropped on \
             this host, by a filter or a bridge"
        ),
        Stage::Left => format!(
            "last seen: {seen}; it passed every place that healthy ones pass here, and was lost \
             further on, or the answer was"
        ),
    }
}

/// What a response says.
pub(super) fn answer(response: &Response, rtype: &str) -> String {
    let records = &response.records;
    match response.kind {
        AnswerKind::Positive => {
            let mut text = response.rcode.to_string();
            if records.addresses.is_empty() {
                text.push_str(&format!(", {} of type {rtype}", records.matching));
            } else {
                text.push_str(&format!(": {}", list(&records.addresses, ADDRESSES)));
            }
            if let Some(canonical) = &records.canonical {
                text.push_str(&format!(" (as {canonical})"));
            }
            text.push_str(&records.min_ttl.map_or_else(String::new, |ttl| format!(", TTL {ttl}")));
            text
        }
        AnswerKind::NxDomain => "NXDOMAIN: there is no such name".to_owned(),
        AnswerKind::NoData => format!("{} without a record of type {rtype}", response.rcode),
        AnswerKind::Truncated => "truncated: to be asked again over TCP".to_owned(),
        AnswerKind::Error(rcode) => rcode.to_string(),
        AnswerKind::Unknown => {
            format!("{}, its records cut off by the snap length", response.rcode)
        }
    }
}

/// Why a response did not reach its client.
pub(super) fn undelivered(response: &Response, asked: IpAddr) -> Option<String> {
    Some(match response.lost {
        Some(Undelivered::OtherHost) => "never delivered: its link address is another host's \
             (packet type other-host), so this host's kernel dropped it"
            .to_owned(),
        Some(Undelivered::WrongSource) => {
            let source = response.hops.last().map_or(asked, |hop| hop.server);
            format!("no use to the client: it came from {source}, and {asked} was asked")
        }
        Some(Undelivered::Vanished) => {
            "lost on its way: another capture point saw it, the client's own did not".to_owned()
        }
        Some(Undelivered::Refused) => {
            "too late: the client's host refused it, its socket was closed".to_owned()
        }
        None if response.stopped => format!(
            "not seen at all the places that healthy ones pass on the client's host; last seen: {}",
            last_place(&response.hops)
        ),
        None => return None,
    })
}

/// How long a response took through the client's host, where that is worth a word.
pub(super) fn host_delay(response: &Response) -> Option<String> {
    let delay = response.delivered().ts.since(response.arrived().ts);
    (delay.as_millis() >= 5)
        .then(|| format!("{} from its first to its last place", duration(delay)))
}
