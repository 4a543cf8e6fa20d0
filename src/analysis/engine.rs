//! One frame after the other through all layers, up to the detectors.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::demote::{Doubts, weigh};
use super::health::{Directions, Loss, Sided, Watch};
use super::peers::Peers;
use super::series::Series;
use super::traffic::Traffic;
use crate::base::{Coverage, Span, Timestamp};
use crate::capture::{Frame, LinkType, PointId};
use crate::detect::{ALL, Answers, Detector, Finding, Forward, Ledger, Reach, Scene, localise};
use crate::flow::{FlowEvent, FlowTable, Held, Ports};
use crate::lookup::{Grouper, Lookup};
use crate::packet::{Body, Defragmenter, Packet, Skip, decode};
use crate::transaction::{Closed, Matcher, Nat, Transaction};

/// Who wants to see transactions and lookups as they close.
#[derive(Default)]
pub struct Sinks<'a> {
    /// Gets every transaction, in the order of first frames.
    pub transactions: Option<&'a mut dyn FnMut(&Transaction)>,
    /// Gets every lookup, in the order in which they began.
    pub lookups: Option<&'a mut dyn FnMut(&Lookup)>,
}

/// Everything that is kept while frames go by.
pub(super) struct Engine<'a> {
    ports: Ports,
    coverage: Coverage,
    defrag: Defragmenter,
    flows: FlowTable,
    matcher: Matcher,
    watch: Watch,
    span: Option<Span>,
    links: BTreeMap<LinkType, u64>,
    tail: Tail<'a>,
}

/// The part behind the matcher: it sees closed transactions only.
struct Tail<'a> {
    grouper: Grouper,
    traffic: Traffic,
    series: Series,
    reach: Reach,
    forward: Forward,
    ledger: Ledger,
    answers: Answers,
    servers: BTreeSet<IpAddr>,
    directions: Directions,
    peers: Peers,
    detectors: Vec<Box<dyn Detector>>,
    sinks: Sinks<'a>,
}

/// What the engine leaves behind.
pub(super) struct Results {
    pub(super) coverage: Coverage,
    pub(super) traffic: Traffic,
    pub(super) series: Series,
    pub(super) ledger: Ledger,
    pub(super) findings: Vec<Finding>,
    pub(super) nat: Nat,
    pub(super) watch: Watch,
    pub(super) directions: Directions,
    pub(super) sided: Sided,
    pub(super) loss: Option<Loss>,
    /// Link types that are not read, and how many frames have them.
    pub(super) links: BTreeMap<LinkType, u64>,
    pub(super) span: Option<Span>,
}

impl<'a> Engine<'a> {
    pub(super) fn new(ports: Ports, sinks: Sinks<'a>) -> Self {
        Self {
            ports,
            coverage: Coverage::default(),
            defrag: Defragmenter::default(),
            flows: FlowTable::new(),
            matcher: Matcher::default(),
            watch: Watch::default(),
            span: None,
            links: BTreeMap::new(),
            tail: Tail {
                grouper: Grouper::default(),
                traffic: Traffic::default(),
                series: Series::default(),
                reach: Reach::default(),
                forward: Forward::default(),
                ledger: Ledger::default(),
                answers: Answers::default(),
                servers: BTreeSet::new(),
                directions: Directions::default(),
                peers: Peers::default(),
                detectors: ALL.iter().map(|rule| (rule.new)()).collect(),
                sinks,
            },
        }
    }

    /// Takes the next frame. Each is counted exactly once.
    pub(super) fn frame(&mut self, frame: &Frame<'_>, point: PointId) {
        self.coverage.frames += 1;
        self.coverage.cut_frames += u64::from(frame.is_cut());
        if frame.link.carries_packets() {
            let ts = frame.seen.ts;
            self.span = Some(self.span.map_or(Span::at(ts), |span| span.with(ts)));
            if let Some(gap) = self.watch.frame(frame.seen, point) {
                self.matcher.missed(gap);
            }
        } else {
            self.coverage.not_dns += 1;
            return;
        }
        match decode(frame, point) {
            Ok(packet) => self.packet(&packet),
            Err(skip) => {
                if let Skip::LinkType(number) = skip {
                    *self.links.entry(LinkType(number)).or_default() += 1;
                }
                self.coverage.undecodable(&skip.to_string());
            }
        }
    }

    fn packet(&mut self, packet: &Packet<'_>) {
        self.watch.packet(packet);
        self.expire_fragments(packet.seen.ts);
        if let Body::Fragment(_) = packet.body {
            let held = match self.defrag.push(packet, &mut self.coverage) {
                Some(whole) => match whole.packet() {
                    Ok(packet) => self.follow(&packet),
                    Err(skip) => return self.coverage.undecodable(&skip.to_string()),
                },
                None => Held::NotDns,
            };
            return self.count(held);
        }
        let held = self.follow(packet);
        self.count(held);
    }

    /// A datagram whose other fragments never came still gives its header and question; its
    /// first fragment was counted when it came.
    fn expire_fragments(&mut self, now: Timestamp) {
        for partial in self.defrag.expire(now) {
            self.partial(&partial);
        }
    }

    fn partial(&mut self, partial: &crate::packet::Reassembled) {
        if let Ok(packet) = partial.packet()
            && self.follow(&packet) == Held::Dns
        {
            self.coverage.not_dns -= 1;
            self.coverage.dns_frames += 1;
        }
    }

    fn follow(&mut self, packet: &Packet<'_>) -> Held {
        let Self { flows, ports, coverage, matcher, tail, watch, span, .. } = self;
        let start = span.map_or(packet.seen.ts, |span| span.start);
        let mut events: smallvec::SmallVec<[FlowEvent; 1]> = smallvec::SmallVec::new();
        let held = flows.follow(packet, ports, coverage, &mut |event| events.push(event));
        for event in events {
            watch.event(&event);
            let mut closed: smallvec::SmallVec<[Closed; 1]> = smallvec::SmallVec::new();
            matcher.take(event, coverage, &mut |item| closed.push(item));
            for item in closed {
                tail.take(&item, start, watch, coverage);
            }
        }
        held
    }

    fn count(&mut self, held: Held) {
        match held {
            Held::Dns => self.coverage.dns_frames += 1,
            Held::NotDns => self.coverage.not_dns += 1,
            Held::Cut => self.coverage.undecodable(&Skip::Cut.to_string()),
        }
    }

    /// The capture is over.
    pub(super) fn finish(mut self) -> Results {
        for partial in std::mem::take(&mut self.defrag).finish() {
            self.partial(&partial);
        }
        let start = self.span.map_or(Timestamp::MIN, |span| span.start);
        let Self { flows, coverage, matcher, tail, watch, .. } = &mut self;
        let mut events = Vec::new();
        flows.finish(coverage, &mut |event| events.push(event));
        for event in events {
            watch.event(&event);
            let mut closed: smallvec::SmallVec<[Closed; 1]> = smallvec::SmallVec::new();
            matcher.take(event, coverage, &mut |item| closed.push(item));
            for item in closed {
                tail.take(&item, start, watch, coverage);
            }
        }
        for hole in watch.finish() {
            matcher.missed(hole);
        }
        // One by one: all that is open at once would take as much memory again.
        matcher.finish(&mut |item| tail.take(&item, start, watch, coverage));
        let Self { mut coverage, matcher, watch, span, mut tail, links, .. } = self;
        tail.finish_lookups(&watch, &mut coverage);
        let nat = matcher.nat().clone();
        tail.traffic.finish(&nat, |address| tail.forward.is_upstream(address));
        let sided = tail.directions.sided();
        tail.series.finish(&sided);
        let loss = tail.directions.loss(&sided);
        let findings = span.map_or_else(Vec::new, |span| {
            let outages = localise(&tail.reach, &nat);
            let scene = Scene {
                span,
                coverage: &coverage,
                nat: &nat,
                reach: &tail.reach,
                forward: &tail.forward,
                ledger: &tail.ledger,
                answers: &tail.answers,
                outages: &outages,
                servers: &tail.servers,
            };
            tail.detectors.drain(..).flat_map(|detector| detector.finish(&scene)).collect()
        });
        let doubts = Doubts { sided: &sided, loss, watch: &watch };
        let findings = weigh(findings, &tail.reach, &doubts);
        let Tail { traffic, series, ledger, directions, .. } = tail;
        Results {
            coverage,
            traffic,
            series,
            ledger,
            findings,
            nat,
            watch,
            directions,
            sided,
            loss,
            links,
            span,
        }
    }
}

impl Tail<'_> {
    /// Takes what the matcher closed, of a capture that began at `start`.
    fn take(
        &mut self,
        closed: &Closed,
        start: Timestamp,
        watch: &mut Watch,
        coverage: &mut Coverage,
    ) {
        match closed {
            Closed::Transaction(transaction) => {
                watch.closed(transaction);
                self.directions.closed(transaction, start, watch);
                self.traffic.transaction(transaction, watch, coverage);
                self.series.transaction(transaction, start, coverage);
                let (client, server) = (transaction.client.ip(), transaction.responder());
                if self.peers.admit(client, server, coverage) {
                    self.forward.note(transaction, &self.servers, coverage);
                    if transaction.answer().is_some() {
                        self.servers.insert(server);
                    }
                    for detector in &mut self.detectors {
                        detector.observe(transaction);
                    }
                }
                if let Some(sink) = &mut self.sinks.transactions {
                    sink(transaction);
                }
            }
            Closed::Connect(connect) => {
                if self.peers.admit(connect.client.ip(), connect.responder(), coverage) {
                    self.reach.note_connect(connect, coverage);
                    self.forward.note_connect(connect, &self.servers, coverage);
                    for detector in &mut self.detectors {
                        detector.observe_connect(connect);
                    }
                }
            }
        }
        let mut done: smallvec::SmallVec<[Lookup; 1]> = smallvec::SmallVec::new();
        self.grouper.take(closed, coverage, &mut |lookup| done.push(lookup));
        for lookup in done {
            self.lookup(&lookup, watch, coverage);
        }
    }

    fn finish_lookups(&mut self, watch: &Watch, coverage: &mut Coverage) {
        let mut done = Vec::new();
        self.grouper.finish(&mut |lookup| done.push(lookup));
        for lookup in done {
            self.lookup(&lookup, watch, coverage);
        }
        self.reach.finish(coverage);
    }

    fn lookup(&mut self, lookup: &Lookup, watch: &Watch, coverage: &mut Coverage) {
        self.directions.lookup(lookup);
        // What a DNS server asks on its clients' behalf is nobody's own lookup.
        let forwarded = self.servers.contains(&lookup.client);
        if !forwarded {
            self.traffic.lookup(lookup, watch, coverage);
            self.series.lookup(lookup);
        }
        if self.peers.has_client(lookup.client) {
            self.reach.note(lookup, coverage);
            if !forwarded {
                self.ledger.note(lookup, coverage);
                self.answers.note(lookup, coverage);
            }
            for detector in &mut self.detectors {
                detector.observe_lookup(lookup);
            }
        }
        if let Some(sink) = &mut self.sinks.lookups {
            sink(lookup);
        }
    }
}
