//! Writes a capture that nothing real looks like: flows and names without end, each different, as
//! classic pcap on standard output. `benches/memory.sh` holds the program's memory against it.
//!
//! `flood FLOWS SECONDS CLIENTS ANSWER` where ANSWER is `nxdomain`, `servfail`, `silent` (nobody
//! answers, nobody asks again), `retried` (nobody answers, everybody asks again 5 s later) or `tcp`
//! (streams that begin a message, never end it, and never close).

use std::collections::VecDeque;
use std::io::{self, BufWriter, Write};

const SERVER: [u8; 4] = [10, 96, 0, 10];
/// A frame's headers: cooked (version 2), IPv4, UDP.
const COOKED: usize = 20;
const IP: usize = 20;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    NxDomain,
    ServFail,
    Silent,
    Retried,
    Tcp,
}

struct Flow {
    client: [u8; 4],
    port: u16,
    id: u16,
    name: String,
}

impl Flow {
    /// The flow number `n`: its client, port and name are its own.
    fn new(n: u64, clients: u64) -> Self {
        let client = u32::try_from(n % clients).expect("fewer clients than addresses");
        let [_, b, c, d] = client.to_be_bytes();
        let turn = n / clients;
        Self {
            client: [11, b, c, d],
            port: u16::try_from(1_024 + turn % 64_000).expect("a port"),
            id: u16::try_from(turn / 64_000 * 7 % 65_536).expect("an id"),
            // Spread over the alphabet, so that neighbours share nothing.
            name: format!("{:016x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        }
    }

    fn message(&self, flags: u16) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        for field in [self.id, flags, 1, 0, 0, 0] {
            out.extend(field.to_be_bytes());
        }
        for label in [self.name.as_str(), "flood", "example"] {
            out.push(u8::try_from(label.len()).expect("a short label"));
            out.extend(label.as_bytes());
        }
        out.extend([0, 0, 1, 0, 1]);
        out
    }
}

fn header(out: &mut Vec<u8>, outgoing: bool, protocol: u8, ends: [[u8; 4]; 2], length: usize) {
    out.extend([8, 0, 0, 0, 0, 0, 0, 2, 0, 1, if outgoing { 4 } else { 0 }, 6]);
    out.extend([2, 0, 0, 0, 0, 1, 0, 0]);
    let total = u16::try_from(IP + length).expect("a small packet");
    out.extend([0x45, 0]);
    out.extend(total.to_be_bytes());
    out.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
    out.extend(ends[0]);
    out.extend(ends[1]);
}

fn datagram(flow: &Flow, response: bool, flags: u16) -> Vec<u8> {
    let message = flow.message(flags);
    let mut out = Vec::with_capacity(COOKED + IP + 8 + message.len());
    let (ends, ports) = if response {
        ([SERVER, flow.client], [53, flow.port])
    } else {
        ([flow.client, SERVER], [flow.port, 53])
    };
    header(&mut out, response, 17, ends, 8 + message.len());
    for port in ports {
        out.extend(port.to_be_bytes());
    }
    let length = u16::try_from(8 + message.len()).expect("a small datagram");
    out.extend(length.to_be_bytes());
    out.extend([0, 0]);
    out.extend(message);
    out
}

fn segment(flow: &Flow, flags: u8, seq: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(COOKED + IP + 20 + payload.len());
    header(&mut out, false, 6, [flow.client, SERVER], 20 + payload.len());
    out.extend(flow.port.to_be_bytes());
    out.extend([0, 53]);
    out.extend(seq.to_be_bytes());
    out.extend([0, 0, 0, 1, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    out.extend(payload);
    out
}

struct Pcap<W: Write>(W);

impl<W: Write> Pcap<W> {
    fn frame(&mut self, nanos: u64, bytes: &[u8]) -> io::Result<()> {
        let base = 1_700_000_000;
        let seconds = u32::try_from(base + nanos / 1_000_000_000).expect("before 2106");
        let fraction = u32::try_from(nanos % 1_000_000_000).expect("less than a second");
        let length = u32::try_from(bytes.len()).expect("a small frame");
        for field in [seconds, fraction, length, length] {
            self.0.write_all(&field.to_le_bytes())?;
        }
        self.0.write_all(bytes)
    }
}

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |place: usize, usual: u64| {
        arguments.get(place).map_or(usual, |text| text.parse().expect("a number"))
    };
    let (flows, seconds, clients) = (number(0, 10_000_000), number(1, 3_600), number(2, 250));
    let answer = match arguments.get(3).map_or("nxdomain", String::as_str) {
        "nxdomain" => Answer::NxDomain,
        "servfail" => Answer::ServFail,
        "silent" => Answer::Silent,
        "retried" => Answer::Retried,
        "tcp" => Answer::Tcp,
        other => panic!("no answer is called {other}"),
    };
    let mut out = Pcap(BufWriter::with_capacity(1 << 20, io::stdout().lock()));
    for field in [0xa1b2_3c4d_u32, 0x0004_0002, 0, 0, 262_144, 276] {
        out.0.write_all(&field.to_le_bytes())?;
    }
    let step = seconds * 1_000_000_000 / flows.max(1);
    let mut again: VecDeque<(u64, Flow)> = VecDeque::new();
    for n in 0..flows {
        let now = n * step;
        while again.front().is_some_and(|(due, _)| *due <= now) {
            let Some((due, flow)) = again.pop_front() else { break };
            out.frame(due, &datagram(&flow, false, 0x0100))?;
        }
        let flow = Flow::new(n, clients);
        match answer {
            Answer::Tcp => {
                let mut payload = vec![0x40, 0];
                payload.extend(flow.message(0x0100));
                payload.resize(1_000, 0);
                out.frame(now, &segment(&flow, 2, 0, &[]))?;
                out.frame(now, &segment(&flow, 16, 1, &payload))?;
            }
            Answer::NxDomain | Answer::ServFail => {
                let flags = if answer == Answer::NxDomain { 0x8183 } else { 0x8182 };
                out.frame(now, &datagram(&flow, false, 0x0100))?;
                out.frame(now + step / 2, &datagram(&flow, true, flags))?;
            }
            Answer::Silent => out.frame(now, &datagram(&flow, false, 0x0100))?,
            Answer::Retried => {
                out.frame(now, &datagram(&flow, false, 0x0100))?;
                again.push_back((now + 5_000_000_000, flow));
            }
        }
    }
    out.0.flush()
}
