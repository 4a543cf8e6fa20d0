//! The words of a story: places, answers, how far a datagram came.

use std::net::IpAddr;

use super::model::Sighting;
use crate::analysis::Analysis;
use crate::base::words::{Text, duration, join, list, plain, text};
use crate::capture::FrameRef;
use crate::dns::{AnswerKind, RecordType};
use crate::packet::Direction;
use crate::transaction::{Attempt, Hop, Hops, Response, Stage, Undelivered, Waypoint};

/// Addresses of an answer that are spelled out.
const ADDRESSES: usize = 3;

/// The word for a packet type.
pub(super) fn direction(direction: Direction) -> Text {
    match direction {
        Direction::Host => text!("in"),
        Direction::Outgoing => text!("out"),
        Direction::Broadcast => text!("broadcast"),
        Direction::Multicast => text!("multicast"),
        Direction::OtherHost => text!("other-host"),
    }
}

/// Every sighting of a datagram.
pub(super) fn sightings(
    hops: &Hops,
    analysis: &Analysis,
    asked: Option<FrameRef>,
) -> Vec<Sighting> {
    let many = analysis.points.len() > 1;
    let point = |hop: Hop| {
        let name = analysis.points.get(usize::from(hop.via.point.0)).filter(|_| many);
        name.map_or_else(String::new, |point| point.name.clone())
    };
    hops.iter()
        .map(|hop| Sighting {
            file: analysis.path(hop.seen.at).to_owned(),
            frame: hop.seen.at.number(),
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
fn place(interface: Option<u32>, packet_type: Option<Direction>, ttl: u8) -> Text {
    let mut words = Vec::new();
    words.extend(interface.map(|index| text!("interface {index}", index)));
    words.extend(packet_type.map(direction));
    words.push(text!("TTL {ttl}", ttl));
    join(words, ", ")
}

fn waypoint(place_of: &Waypoint) -> Text {
    place(place_of.interface, place_of.direction, place_of.ttl)
}

/// Where a datagram was seen last.
pub(super) fn last_place(hops: &Hops) -> Text {
    hops.iter().max_by_key(|hop| hop.seen).map_or_else(
        || text!("nowhere"),
        |hop| place(hop.via.interface, hop.via.direction, hop.via.ttl),
    )
}

/// How far a query came that nobody answered.
pub(super) fn vanished(attempt: &Attempt) -> Text {
    let Some(vanish) = &attempt.vanish else {
        if attempt.hops.iter().all(|hop| hop.via.interface.is_none()) {
            return text!("this capture shows but one place of its way");
        }
        return text!(
            "last seen: {last_place}; too few healthy queries took this way to say where it ends",
            last_place = last_place(&attempt.hops)
        );
    };
    let seen = waypoint(&vanish.last);
    let missing = vanish.missing.as_ref().map(waypoint).unwrap_or_default();
    match vanish.stage {
        Stage::BeforeTranslation => text!(
            "last seen: {seen}; it is missing where healthy ones come next ({missing}), before its \
             address was translated: dropped on this host, by the raw table or by conntrack",
            seen,
            missing
        ),
        Stage::OnHost => text!(
            "last seen: {seen}; it is missing where healthy ones come next ({missing}): dropped on \
             this host, by a filter or a bridge",
            seen,
            missing
        ),
        Stage::Left => text!(
            "last seen: {seen}; it passed every place that healthy ones pass here; it was lost \
             further on, or its answer never came here",
            seen
        ),
    }
}

/// What a response says.
pub(super) fn answer(response: &Response, rtype: RecordType) -> Text {
    let records = &response.records;
    match response.kind {
        AnswerKind::Positive => {
            let mut text = plain(response.rcode);
            if records.addresses.is_empty() {
                text.push(text!(
                    ", {matching} of type {rtype}",
                    matching = records.matching,
                    rtype
                ));
            } else {
                text.push(text!(": {addresses}", addresses = list(&records.addresses, ADDRESSES)));
            }
            if let Some(canonical) = &records.canonical {
                text.push(text!(" (as {canonical})", canonical));
            }
            if let Some(ttl) = records.min_ttl {
                text.push(text!(", TTL {ttl}", ttl));
            }
            text
        }
        AnswerKind::NxDomain => text!("NXDOMAIN: there is no such name"),
        AnswerKind::NoData => {
            text!("{rcode} without a record of type {rtype}", rcode = response.rcode, rtype)
        }
        AnswerKind::Truncated => text!("truncated: to be asked again over TCP"),
        AnswerKind::Error(rcode) => plain(rcode),
        AnswerKind::Unknown => {
            text!("{rcode}, its records cut off by the snap length", rcode = response.rcode)
        }
    }
}

/// Why a response did not reach its client.
pub(super) fn undelivered(response: &Response, asked: IpAddr) -> Option<Text> {
    Some(match response.lost {
        Some(Undelivered::OtherHost | Undelivered::Elsewhere) => text!(
            "never delivered: its link address is another host's, so this host's kernel dropped it"
        ),
        Some(Undelivered::WrongSource) => {
            let source = response.hops.last().map_or(asked, |hop| hop.server);
            text!(
                "no use to the client: it came from {source}, and {asked} was asked",
                source,
                asked
            )
        }
        Some(Undelivered::Vanished) => {
            text!("lost on its way: another capture point saw it, the client's own did not")
        }
        Some(Undelivered::Incomplete) => text!(
            "never delivered: its first fragment alone came to the client's host and went no further; \
             last seen: {last_place}",
            last_place = last_place(&response.hops)
        ),
        Some(Undelivered::Refused) => {
            text!("too late: the client's host refused it, its socket was closed")
        }
        None if response.stopped => text!(
            "not seen at all the places that healthy ones pass on the client's host; last seen: \
             {last_place}",
            last_place = last_place(&response.hops)
        ),
        None => return None,
    })
}

/// How long a response took through the client's host, where that is worth a word.
pub(super) fn host_delay(response: &Response) -> Option<Text> {
    let delay = response.delivered().ts.since(response.arrived().ts);
    (delay.as_millis() >= 5)
        .then(|| text!("{delay} from its first to its last place", delay = duration(delay)))
}
