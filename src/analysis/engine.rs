//! The part that goes by order: from units of frames to closed transactions.

use std::collections::BTreeMap;

use super::block::{Block, Unit};
use super::feed::Intake;
use super::health::{Notice, Paces};
use super::mask::Mask;
use crate::base::{Coverage, Span, Timestamp};
use crate::capture::{LinkType, PointId, Seen};
use crate::dns::Message;
use crate::flow::{FlowEvent, FlowTable, Held, Observed, Ports};
use crate::packet::{Body, Defragmenter, Packet, Reassembled};
use crate::transaction::{Closed, Matcher, Nat};

/// What the engine hands on, in order.
#[derive(Debug)]
pub(super) enum Item {
    /// The capture began at this time, or earlier than was known.
    Start(Timestamp),
    /// What frames show of the capture.
    Notice(Notice),
    /// A transaction or connection that will not change any more.
    Closed(Closed),
}

/// What takes the engine's items.
pub(super) trait Next {
    /// Takes the next item.
    fn item(&mut self, item: Item);
}

/// Everything that is kept of frames.
pub(super) struct Engine<N> {
    ports: Ports,
    mask: Option<Mask>,
    coverage: Coverage,
    defrag: Defragmenter,
    flows: FlowTable,
    matcher: Matcher,
    paces: Paces,
    span: Option<Span>,
    links: BTreeMap<LinkType, u64>,
    next: N,
}

/// What the engine leaves behind.
pub(super) struct Read<N> {
    pub(super) coverage: Coverage,
    pub(super) nat: Nat,
    /// Link types that are not read, and how many frames have them.
    pub(super) links: BTreeMap<LinkType, u64>,
    pub(super) span: Option<Span>,
    pub(super) next: N,
}

impl<N: Next> Intake for Engine<N> {
    fn account(&mut self, coverage: &Coverage, links: &[(LinkType, u64)]) {
        self.coverage.absorb(coverage);
        for (link, frames) in links {
            *self.links.entry(*link).or_default() += frames;
        }
    }

    fn unit(&mut self, unit: &Unit, block: &Block, point: PointId) {
        self.frame(unit.seen(), point);
        match unit {
            Unit::Message(observed, place) => {
                if let Some(message) = block.message(*place) {
                    self.message(observed, message);
                }
            }
            Unit::Packet(_, place) => {
                if let Some(packet) = block.packet(*place) {
                    self.packet(&packet);
                }
            }
            Unit::Time(_) => {}
        }
    }
}

impl<N: Next> Engine<N> {
    pub(super) fn new(ports: Ports, mask: Option<Mask>, next: N) -> Self {
        Self {
            ports,
            mask,
            coverage: Coverage::default(),
            defrag: Defragmenter::default(),
            flows: FlowTable::new(),
            matcher: Matcher::default(),
            paces: Paces::default(),
            span: None,
            links: BTreeMap::new(),
            next,
        }
    }

    /// Takes a frame's time, whatever the frame holds.
    #[inline]
    fn frame(&mut self, seen: Seen, point: PointId) {
        match &mut self.span {
            // It stands behind another frame, with which the span has begun at the latest.
            Some(span) if self.paces.goes_on(seen, point) => span.end = span.end.max(seen.ts),
            _ => self.pause(seen, point),
        }
        if !self.defrag.is_empty() || self.flows.may_expire(seen.ts) {
            self.expire(seen.ts);
        }
    }

    /// A frame that does not follow at once.
    #[inline(never)]
    fn pause(&mut self, seen: Seen, point: PointId) {
        match &mut self.span {
            Some(span) if span.start <= seen.ts => span.end = span.end.max(seen.ts),
            span => {
                *span = Some(span.map_or(Span::at(seen.ts), |span| span.with(seen.ts)));
                self.next.item(Item::Start(seen.ts));
            }
        }
        if let Some(notice) = self.paces.frame(seen, point) {
            self.next.item(Item::Notice(notice));
            if let Notice::Gap(span) = notice {
                self.matcher.missed(span);
            }
        }
    }

    /// Gives up on what has waited for too long. A datagram whose other fragments never came still
    /// gives its header and question; its first fragment was counted when it came.
    #[inline(never)]
    fn expire(&mut self, now: Timestamp) {
        if !self.defrag.is_empty() {
            for partial in self.defrag.expire(now) {
                self.partial(&partial);
            }
        }
        let Self { flows, coverage, matcher, next, paces, mask, .. } = self;
        flows.advance(now, coverage, &mut |event, coverage| {
            follow(masked(event, mask), coverage, paces, matcher, next);
        });
    }

    fn partial(&mut self, partial: &Reassembled) {
        self.matcher.belated(true);
        if let Ok(packet) = partial.packet()
            && self.follow(&packet) == Held::Dns
        {
            self.coverage.not_dns -= 1;
            self.coverage.dns_frames += 1;
        }
        self.matcher.belated(false);
    }

    fn message(&mut self, observed: &Observed, message: &Message) {
        let Self { coverage, matcher, next, paces, mask, .. } = self;
        let mut next = |closed| next.item(Item::Closed(closed));
        if let Some(mask) = mask {
            let (mut observed, mut message) = (*observed, message.clone());
            mask.message(&mut observed.tuple, &mut message);
            paces.message(&observed, &message);
            matcher.message(&observed, &message, coverage, &mut next);
        } else {
            paces.message(observed, message);
            matcher.message(observed, message, coverage, &mut next);
        }
    }

    #[inline(never)]
    fn packet(&mut self, packet: &Packet<'_>) {
        self.paces.packet(packet);
        let held = match packet.body {
            Body::Fragment(_) => match self.defrag.push(packet, &mut self.coverage) {
                Some(whole) => match whole.packet() {
                    Ok(packet) => self.follow(&packet),
                    Err(skip) => return self.coverage.undecodable(&skip.to_string()),
                },
                None => Held::NotDns,
            },
            _ => self.follow(packet),
        };
        held.count(&mut self.coverage);
    }

    fn follow(&mut self, packet: &Packet<'_>) -> Held {
        let Self { flows, ports, coverage, matcher, next, paces, mask, .. } = self;
        flows.follow(packet, ports, coverage, &mut |event, coverage| {
            follow(masked(event, mask), coverage, paces, matcher, next);
        })
    }

    /// The capture is over.
    pub(super) fn finish(mut self) -> Read<N> {
        for partial in std::mem::take(&mut self.defrag).finish() {
            self.partial(&partial);
        }
        let Self { flows, mut coverage, mut matcher, mut next, mut paces, mut mask, .. } = self;
        let mut flows = flows;
        flows.finish(&mut coverage, &mut |event, coverage| {
            follow(masked(event, &mut mask), coverage, &mut paces, &mut matcher, &mut next);
        });
        let (holes, kinds) = paces.finish();
        next.item(Item::Notice(kinds));
        for hole in holes {
            next.item(Item::Notice(Notice::Gap(hole)));
            matcher.missed(hole);
        }
        // One by one: all that is open at once would take as much memory again.
        matcher.finish(&mut |closed| next.item(Item::Closed(closed)));
        let nat = matcher.nat().clone();
        Read { coverage, nat, links: self.links, span: self.span, next }
    }
}

/// The event as a masked analysis may see it.
fn masked(mut event: FlowEvent, mask: &mut Option<Mask>) -> FlowEvent {
    if let Some(mask) = mask {
        mask.event(&mut event);
    }
    event
}

fn follow(
    event: FlowEvent,
    coverage: &mut Coverage,
    paces: &mut Paces,
    matcher: &mut Matcher,
    next: &mut impl Next,
) {
    if let FlowEvent::Message(message) = &event {
        paces.message(&message.observed(), &message.message);
    }
    matcher.take(event, coverage, &mut |closed| next.item(Item::Closed(closed)));
}
