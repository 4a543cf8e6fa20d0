//! The statements of a scenario: hosts, views, blocks and lines in the order of time.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use super::repeat::{Block, Round};
use super::token::{address_of, link_type, nanos, split};
use super::view::View;
use crate::base::Timestamp;
use crate::capture::LinkType;

/// 2026-01-05T10:00:00Z.
const BASE: i64 = 1_767_607_200;
const CLIENT_PORT: u16 = 40_000;
const SERVER_PORT: u16 = 53;

/// A declared name.
#[derive(Debug, Clone)]
pub(super) struct Host {
    pub(super) ip: IpAddr,
    pub(super) port: Option<u16>,
    pub(super) service: bool,
}

/// One line of the conversation, its block unrolled.
#[derive(Debug, Clone)]
pub(super) struct Line {
    /// Line of the text, from 1.
    pub(super) at: usize,
    /// Block (0 is the top level), round and number of the line within them.
    pub(super) place: (usize, u32, u32),
    pub(super) file: u32,
    pub(super) ts: Timestamp,
    /// The time that 0 stands for.
    pub(super) start: Timestamp,
    /// Absent for `icmp` lines without hosts.
    pub(super) parties: Option<Parties>,
    pub(super) id_shift: u16,
    pub(super) words: Vec<String>,
}

/// Who speaks with whom, and in which direction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parties {
    pub(super) client: SocketAddr,
    pub(super) server: SocketAddr,
    pub(super) service: bool,
    /// From the client to the server.
    pub(super) forth: bool,
}

/// A parsed text.
#[derive(Debug, Clone)]
pub(super) struct Script {
    pub(super) hosts: BTreeMap<String, Host>,
    pub(super) view: View,
    pub(super) link: LinkType,
    pub(super) lines: Vec<Line>,
}

impl Script {
    /// Reads all statements; the error is a line number and a reason.
    pub(super) fn parse(text: &str) -> Result<Self, (usize, String)> {
        let mut reader = Reader::default();
        for (n, line) in text.lines().enumerate() {
            reader.statement(n + 1, line).map_err(|reason| (n + 1, reason))?;
        }
        if let Some(block) = reader.block {
            return Err((block.at, "a block without end".to_owned()));
        }
        let mut lines = reader.lines;
        lines.sort_by_key(|line| line.ts);
        let hosts = reader.hosts;
        let mut view = View::default();
        let mut link = LinkType::ETHERNET;
        if let Some((at, words)) = reader.capture {
            (view, link) = capture(&hosts, &words).map_err(|reason| (at, reason))?;
        }
        Ok(Self { hosts, view, link, lines })
    }

    /// The declared host called `name`, or the address that it is.
    pub(super) fn host(&self, name: &str) -> Result<Host, String> {
        find(&self.hosts, name)
    }
}

#[derive(Default)]
struct Reader {
    hosts: BTreeMap<String, Host>,
    capture: Option<(usize, Vec<String>)>,
    start: Option<Timestamp>,
    file: u32,
    lines: Vec<Line>,
    top_count: u32,
    blocks: usize,
    block: Option<Block>,
}

/// Where in the text a line comes from.
#[derive(Clone, Copy)]
struct Origin {
    at: usize,
    file: u32,
    place: (usize, u32, u32),
}

impl Reader {
    fn statement(&mut self, at: usize, text: &str) -> Result<(), String> {
        let owned = split(text);
        let words: Vec<&str> = owned.iter().map(String::as_str).collect();
        match words.as_slice() {
            [] => {}
            ["end"] => self.unroll()?,
            ["---", "next", "file"] => match &self.block {
                Some(_) => return Err("a block lies within one file".to_owned()),
                None => self.file += 1,
            },
            ["repeat", rest @ ..] => self.block = Some(self.open_block(at, rest)?),
            // The hosts it names may be declared later.
            ["capture", ..] => self.capture = Some((at, owned)),
            ["start", time] => {
                let time: jiff::Timestamp = time.parse().map_err(|e| format!("{e}"))?;
                self.start = Some(Timestamp::from_parts(time.as_second(), 0));
            }
            ["service", name, "=", address] => self.declare(name, address, true)?,
            [name, "=", address] => self.declare(name, address, false)?,
            _ => {
                if let Some(block) = &mut self.block {
                    block.lines.push((at, self.file, text.to_owned()));
                } else {
                    self.top_count += 1;
                    let origin = Origin { at, file: self.file, place: (0, 0, self.top_count) };
                    self.line(origin, text, Round::default())?;
                }
            }
        }
        Ok(())
    }

    fn declare(&mut self, name: &str, address: &str, service: bool) -> Result<(), String> {
        let (ip, port) = address_of(address).ok_or_else(|| format!("no address: {address}"))?;
        self.hosts.insert(name.to_owned(), Host { ip, port, service });
        Ok(())
    }

    fn open_block(&self, at: usize, words: &[&str]) -> Result<Block, String> {
        match self.block {
            Some(_) => Err("blocks do not nest".to_owned()),
            None => Block::open(at, words),
        }
    }

    fn unroll(&mut self) -> Result<(), String> {
        let block = self.block.take().ok_or("end of what?")?;
        self.blocks += 1;
        for round in block.rounds() {
            for (number, (at, file, text)) in (1..).zip(&block.lines) {
                let origin = Origin { at: *at, file: *file, place: (self.blocks, round.n, number) };
                round
                    .fill_in(text)
                    .and_then(|text| self.line(origin, &text, round))
                    .map_err(|reason| format!("line {at}: {reason}"))?;
            }
        }
        Ok(())
    }

    fn line(&mut self, origin: Origin, text: &str, round: Round) -> Result<(), String> {
        let mut words = split(text);
        let time = nanos(words.first().ok_or("nothing")?)?;
        let parties = match words.get(2).map(String::as_str) {
            Some(arrow @ (">" | "<")) => Some(self.parties(&words, arrow == ">", round)?),
            _ if words.get(1).is_some_and(|word| word == "icmp") => None,
            _ => return Err("expected: TIME CLIENT > SERVER, or TIME CLIENT < SERVER".to_owned()),
        };
        words.drain(..if parties.is_some() { 4 } else { 1 });
        let start = self.start.unwrap_or(Timestamp::from_parts(BASE, 0));
        self.lines.push(Line {
            at: origin.at,
            place: origin.place,
            file: origin.file,
            ts: Timestamp::from_nanos(start.nanos() + time + round.offset),
            start,
            parties,
            id_shift: round.id_shift(),
            words,
        });
        Ok(())
    }

    fn parties(&self, words: &[String], forth: bool, round: Round) -> Result<Parties, String> {
        let client = find(&self.hosts, &words[1])?;
        let server = find(&self.hosts, words.get(3).ok_or("to whom?")?)?;
        let port = client.port.unwrap_or(CLIENT_PORT);
        Ok(Parties {
            client: SocketAddr::new(client.ip, round.client_port(port)),
            server: SocketAddr::new(server.ip, server.port.unwrap_or(SERVER_PORT)),
            service: server.service,
            forth,
        })
    }
}

fn capture(hosts: &BTreeMap<String, Host>, words: &[String]) -> Result<(View, LinkType), String> {
    let [_, view, link, rest @ ..] = words else {
        return Err("expected: capture VIEW LINK".to_owned());
    };
    let view = View::parse(view, rest, |name| Ok(find(hosts, name)?.ip))?;
    Ok((view, link_type(link)?))
}

/// The declared host called `name`, or the address that it is.
fn find(hosts: &BTreeMap<String, Host>, name: &str) -> Result<Host, String> {
    if let Some(host) = hosts.get(name) {
        return Ok(host.clone());
    }
    if let Some((name, port)) = name.rsplit_once(':')
        && let (Some(host), Ok(port)) = (hosts.get(name), port.parse())
    {
        let port = Some(port);
        return Ok(Host { port, ..host.clone() });
    }
    let (ip, port) = address_of(name).ok_or_else(|| format!("who is {name}?"))?;
    let service = false;
    Ok(Host { ip, port, service })
}
