//! The lines acted out one after the other: what is said becomes datagrams, and datagrams are seen.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use super::node::{Sighting, Sightings, Trip};
use super::packets::{Body, Datagram, IcmpKind};
use super::script::{Line, Parties, Script};
use super::talk::Talk;
use super::tcp::Streams;
use super::words::{Carriage, Saying, What};
use crate::base::Timestamp;

/// One packet at one place.
#[derive(Debug, Clone)]
pub(super) struct Seeing {
    pub(super) file: u32,
    pub(super) ts: Timestamp,
    /// What the capture says instead of `ts`.
    pub(super) stamp: Timestamp,
    pub(super) sighting: Sighting,
    pub(super) packet: Vec<u8>,
    pub(super) cut: Option<usize>,
}

/// Acts out the whole script; the error is a line number and a reason.
pub(super) fn act(script: &Script) -> Result<Vec<Seeing>, (usize, String)> {
    let mut sayings = Vec::with_capacity(script.lines.len());
    for line in &script.lines {
        let saying = Saying::parse(&line.words, line.id_shift);
        sayings.push(saying.map_err(|reason| (line.at, reason))?);
    }
    let vias = sayings.iter().filter_map(|saying| saying.via.as_deref());
    let backends = vias.filter_map(|name| Some(script.host(name).ok()?.ip));
    let mut stage = Stage {
        script,
        sightings: Sightings::new(&script.view, backends.collect()),
        talk: Talk::default(),
        streams: Streams::default(),
        ip_ids: BTreeMap::new(),
        translations: BTreeMap::new(),
        said: BTreeMap::new(),
        latest: BTreeMap::new(),
        seen: Vec::new(),
    };
    for (line, saying) in script.lines.iter().zip(&sayings) {
        let done = stage.act(line, saying);
        done.map_err(|reason| (line.at, reason))?;
    }
    Ok(stage.seen)
}

struct Stage<'a> {
    script: &'a Script,
    sightings: Sightings<'a>,
    talk: Talk,
    streams: Streams,
    /// The latest IP identification of each sender.
    ip_ids: BTreeMap<IpAddr, u16>,
    /// The backend that each flow of a client to a service was given.
    translations: BTreeMap<(SocketAddr, SocketAddr), SocketAddr>,
    /// What each line sent, by block, round and number.
    said: BTreeMap<(usize, u32, u32), (Parties, Datagram)>,
    /// What was sent last from one to the other.
    latest: BTreeMap<(SocketAddr, SocketAddr), Datagram>,
    seen: Vec<Seeing>,
}

impl Stage<'_> {
    fn act(&mut self, line: &Line, saying: &Saying) -> Result<(), String> {
        if let What::Icmp { kind, line: n, from } = &saying.what {
            return self.error(line, saying, (*kind, *n, from.as_deref()));
        }
        let parties = line.parties.ok_or("who says it to whom?")?;
        self.translate(parties, saying)?;
        let key = (parties.client, parties.server);
        let carriage = &saying.carriage;
        let payload = match &saying.what {
            What::Message(spoken) => self.talk.message(parties, spoken)?.bytes(),
            What::Raw(bytes) => bytes.clone(),
            What::Control(_) | What::Icmp { .. } => Vec::new(),
        };
        if !carriage.tcp {
            return self.send(line, saying, Body::Udp(payload), parties);
        }
        let segment = match &saying.what {
            What::Control(control) => self.streams.control(key, parties.forth, *control),
            What::Message(_) => {
                let length = u16::try_from(payload.len()).map_err(|e| e.to_string())?;
                let framed = [&length.to_be_bytes(), payload.as_slice()].concat();
                self.streams.data(key, parties.forth, carriage.again, framed)
            }
            _ => self.streams.data(key, parties.forth, carriage.again, payload),
        };
        let Some(at) = carriage.split else {
            return self.send(line, saying, Body::Tcp(segment), parties);
        };
        let [first, second] = segment.split(at);
        self.send(line, saying, Body::Tcp(first), parties)?;
        self.send(line, saying, Body::Tcp(second), parties)
    }

    /// Remembers the backend of a flow to a service, as conntrack does.
    fn translate(&mut self, parties: Parties, saying: &Saying) -> Result<(), String> {
        if let Some(name) = &saying.via {
            if !parties.service {
                return Err("only a service has backends".to_owned());
            }
            let backend = self.script.host(name)?;
            let port = backend.port.unwrap_or(parties.server.port());
            let key = (parties.client, parties.server);
            self.translations.insert(key, SocketAddr::new(backend.ip, port));
        }
        Ok(())
    }

    fn send(
        &mut self,
        line: &Line,
        saying: &Saying,
        body: Body,
        parties: Parties,
    ) -> Result<(), String> {
        let (src, dst) = direction(parties);
        let datagram = self.datagram(&saying.carriage, src, dst, body);
        self.latest.insert((src, dst), datagram.clone());
        self.said.insert(line.place, (parties, datagram.clone()));
        self.show(line, saying, parties, &datagram, &datagram)
    }

    fn error(
        &mut self,
        line: &Line,
        saying: &Saying,
        (kind, n, from): (IcmpKind, Option<u32>, Option<&str>),
    ) -> Result<(), String> {
        let (block, round, _) = line.place;
        let (parties, quoted) = match (n, line.parties) {
            (Some(n), given) => {
                let said = self.said.get(&(block, round, n));
                let (theirs, quoted) = said.ok_or_else(|| format!("line {n} is not sent yet"))?;
                let answer = Parties { forth: !theirs.forth, ..*theirs };
                (given.unwrap_or(answer), quoted.clone())
            }
            (None, Some(parties)) => {
                let (src, dst) = direction(parties);
                let latest = self.latest.get(&(dst, src));
                (parties, latest.ok_or("nothing to quote")?.clone())
            }
            (None, None) => return Err("which line does it quote?".to_owned()),
        };
        let (mut src, mut dst) = direction(parties);
        src.set_port(0);
        dst.set_port(0);
        let body = Body::Icmp(kind, Box::new(quoted));
        let mut base = self.datagram(&saying.carriage, src, dst, body);
        let mut translated = base.clone();
        if let Some(name) = from {
            let from = SocketAddr::new(self.script.host(name)?.ip, 0);
            // Un-NAT puts the service address in place of whoever sent the error.
            let rewritten = parties.service && !parties.forth && !self.script.view.is_pod();
            if !rewritten || saying.route.since.is_some() {
                base.src = from;
            }
            translated.src = from;
        }
        self.said.insert(line.place, (parties, base.clone()));
        self.show(line, saying, parties, &base, &translated)
    }

    fn datagram(
        &mut self,
        carriage: &Carriage,
        src: SocketAddr,
        dst: SocketAddr,
        body: Body,
    ) -> Datagram {
        let first = || u16::from_be_bytes(last_two(src.ip())).wrapping_mul(257) | 1;
        let counter = self.ip_ids.entry(src.ip()).or_insert_with(first);
        // Zero would mean that there is none.
        *counter = counter.wrapping_add(1).max(1);
        Datagram {
            src,
            dst,
            ip_id: carriage.ip_id.unwrap_or(*counter),
            ttl: carriage.ttl.unwrap_or(64),
            fragments: carriage.fragments,
            captured: carriage.captured,
            body,
        }
    }

    fn show(
        &mut self,
        line: &Line,
        saying: &Saying,
        parties: Parties,
        base: &Datagram,
        other: &Datagram,
    ) -> Result<(), String> {
        let key = (parties.client, parties.server);
        let backend = self.translations.get(&key).copied();
        let server = if parties.service { backend } else { Some(parties.server) };
        let sightings = self.sightings.of(Trip {
            client: parties.client.ip(),
            server: server.map(|server| server.ip()),
            forth: parties.forth,
            route: saying.route,
        })?;
        if saying.carriage.lost {
            return Ok(());
        }
        for sighting in sightings {
            let mut datagram = match (parties.service && sighting.translated, backend) {
                (false, _) => base.clone(),
                (true, Some(backend)) => other.translated(parties.server, backend),
                (true, None) => return Err("via which backend?".to_owned()),
            };
            datagram.ttl = datagram.ttl.saturating_sub(sighting.hops);
            let ts = Timestamp::from_nanos(line.ts.nanos() + sighting.delay);
            let stamp = saying.carriage.stamped.map(|at| line.start.nanos() + at);
            for packet in datagram.packets() {
                self.seen.push(Seeing {
                    file: line.file,
                    ts,
                    stamp: stamp.map_or(ts, Timestamp::from_nanos),
                    sighting,
                    packet,
                    cut: saying.carriage.cut,
                });
            }
        }
        Ok(())
    }
}

fn direction(parties: Parties) -> (SocketAddr, SocketAddr) {
    if parties.forth { (parties.client, parties.server) } else { (parties.server, parties.client) }
}

fn last_two(ip: IpAddr) -> [u8; 2] {
    let [.., c, d] = match ip {
        IpAddr::V4(ip) => ip.octets(),
        IpAddr::V6(ip) => {
            let [.., a, b, c, d] = ip.octets();
            [a, b, c, d]
        }
    };
    [c, d]
}
