//! What happens on the wire: arrivals, attempts, losses, answers, and when.

use crate::names::{self, Kind, Name};
use crate::opts::Opts;
use crate::packet::{ACK, FIN, Frame, PSH, SYN, Side};
use crate::rng::{Alias, Rng};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

const VIP: u32 = 0x0a60_000a; // 10.96.0.10
const UPSTREAM: u32 = 0x0a00_0002; // 10.0.0.2
const NODE: u32 = 0xac10_0005; // 172.16.0.5
const POD_NET: u32 = 0x0af4_0000; // 10.244.0.0/16
const NAMESPACES: u32 = 60;
const RETRY_NS: u64 = 5_000_000_000;
const AS_IS: u8 = 4;

const A: u16 = 1;
const AAAA: u16 = 28;
const PTR: u16 = 12;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ev {
    Arrive,
    /// Packet `step` of a transaction, copy `copy`.
    Pkt {
        txn: u32,
        step: u8,
        copy: u8,
    },
    Retry {
        txn: u32,
    },
    /// The server's upstream answered, or the server decided by itself.
    Reply {
        txn: u32,
    },
    Done {
        txn: u32,
    },
}

/// What happened to the current attempt.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Loss {
    None,
    /// Dropped when DNAT inserted the connection: only the pre-DNAT copies exist.
    AtDnat,
    /// The server stayed silent.
    Silent,
    /// The answer left the server and never crossed back to the client.
    OnReturn,
    /// Answered after the client had retried.
    Late,
}

#[derive(Clone)]
struct Txn {
    client: u32,
    lookup: u32,
    name: u32,
    parent: u32,
    attempt: u32,
    qtype: u16,
    id: u16,
    port: u16,
    namespace: u8,
    server: u8,
    stage: u8,
    copies: u8,
    rcode: u8,
    refs: u8,
    tries: u8,
    loss: Loss,
    upstream: bool,
    v6: bool,
    tcp: bool,
    tc: bool,
    edns: bool,
    mixed: bool,
    answered: bool,
}

struct Lookup {
    client: u32,
    name: u32,
    port: u16,
    namespace: u8,
    stage: u8,
    pending: u8,
    found: bool,
    search: bool,
    pair: bool,
    edns: bool,
    v6: bool,
}

#[derive(Default)]
pub(crate) struct Truth {
    pub(crate) lookups: u64,
    pub(crate) queries: u64,
    pub(crate) transactions: u64,
    pub(crate) answered: u64,
    pub(crate) unanswered: u64,
    pub(crate) rcode: [u64; 16],
    pub(crate) retries: u64,
    pub(crate) lost_at_dnat: u64,
    pub(crate) silent: u64,
    pub(crate) lost_on_return: u64,
    pub(crate) late: u64,
    pub(crate) tcp: u64,
    pub(crate) truncated: u64,
    pub(crate) upstream: u64,
}

pub(crate) struct Sim<'a> {
    o: &'a Opts,
    rng: Rng,
    names: Vec<Name>,
    zipf: Alias,
    suffix: Vec<[Vec<u8>; 4]>,
    pub(crate) heap: BinaryHeap<Reverse<(u64, u64, Ev)>>,
    seq: u64,
    txns: Vec<Txn>,
    free_txn: Vec<u32>,
    lookups: Vec<Lookup>,
    free_lookup: Vec<u32>,
    pub(crate) truth: Truth,
    dns: Vec<u8>,
    pub(crate) frame: Vec<u8>,
}

impl<'a> Sim<'a> {
    pub(crate) fn new(o: &'a Opts) -> Self {
        let mut rng = Rng::new(o.seed);
        let names = names::build(o.names, NAMESPACES, &mut rng);
        let suffix = (0..NAMESPACES)
            .map(|n| {
                let ns = format!("team-{n}");
                let build = |ls: &[&str]| {
                    let mut v = Vec::new();
                    ls.iter().for_each(|l| names::push_label(&mut v, l));
                    v
                };
                [
                    build(&[&ns, "svc", "cluster", "local"]),
                    build(&["svc", "cluster", "local"]),
                    build(&["cluster", "local"]),
                    build(&["corp", "example", "internal"]),
                ]
            })
            .collect();
        Sim {
            o,
            zipf: Alias::zipf(o.names, o.zipf),
            rng,
            names,
            suffix,
            heap: BinaryHeap::with_capacity(1 << 16),
            seq: 0,
            txns: Vec::new(),
            free_txn: Vec::new(),
            lookups: Vec::new(),
            free_lookup: Vec::new(),
            truth: Truth::default(),
            dns: Vec::with_capacity(1024),
            frame: Vec::with_capacity(1024),
        }
    }

    pub(crate) fn at(&mut self, t: u64, ev: Ev) {
        self.seq += 1;
        self.heap.push(Reverse((t, self.seq, ev)));
    }

    fn hold(&mut self, txn: u32, t: u64, ev: Ev) {
        self.txns[txn as usize].refs += 1;
        self.at(t, ev);
    }

    pub(crate) fn arrive(&mut self, t: u64) {
        let o = self.o;
        let client = self.rng.below(o.clients);
        // Traits of a client are fixed: they come from its number, not from the draw.
        let h = u64::from(client).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let share = |k: u32, p: f64| ((h >> k) & 0xfff) as f64 / 4096.0 < p;
        let l = Lookup {
            client,
            name: self.zipf.draw(&mut self.rng),
            port: 32768 + self.rng.below(28232) as u16,
            namespace: (h % u64::from(NAMESPACES)) as u8,
            stage: 0,
            pending: 0,
            found: false,
            search: share(20, 0.7),
            pair: share(32, 0.85),
            edns: share(44, o.edns),
            v6: share(8, o.ipv6),
        };
        self.truth.lookups += 1;
        let id = match self.free_lookup.pop() {
            Some(i) => {
                self.lookups[i as usize] = l;
                i
            }
            None => {
                self.lookups.push(l);
                self.lookups.len() as u32 - 1
            }
        };
        let l = &mut self.lookups[id as usize];
        let kind = self.names[l.name as usize].kind;
        l.stage = match kind {
            Kind::Ptr => AS_IS,
            Kind::External if !l.search => AS_IS,
            Kind::Cross if !l.search => 1,
            _ => 0,
        };
        self.start_stage(id, t);
        let gap = self.rng.exp(1e9 / o.rate) as u64;
        self.at(t + gap.max(1), Ev::Arrive);
    }

    fn start_stage(&mut self, lookup: u32, t: u64) {
        let ptr = {
            let l = &mut self.lookups[lookup as usize];
            l.found = false;
            self.names[l.name as usize].kind == Kind::Ptr
        };
        let l = &self.lookups[lookup as usize];
        if ptr {
            self.lookups[lookup as usize].pending = 1;
            self.ask(lookup, PTR, t);
        } else if l.pair {
            self.lookups[lookup as usize].pending = 2;
            self.ask(lookup, A, t);
            self.ask(lookup, AAAA, t + 4_000);
        } else {
            self.lookups[lookup as usize].pending = 1;
            self.ask(lookup, A, t);
        }
    }

    fn alloc(&mut self, t: Txn) -> u32 {
        self.truth.transactions += 1;
        match self.free_txn.pop() {
            Some(i) => {
                self.txns[i as usize] = t;
                i
            }
            None => {
                self.txns.push(t);
                self.txns.len() as u32 - 1
            }
        }
    }

    fn ask(&mut self, lookup: u32, qtype: u16, t: u64) {
        let o = self.o;
        let copies = o.copies.0 + self.rng.below(u32::from(o.copies.1 - o.copies.0) + 1) as u8;
        let tcp = self.rng.chance(o.tcp);
        let l = &self.lookups[lookup as usize];
        let port = if tcp { 32768 + self.rng.below(28232) as u16 } else { l.port };
        // Connection tracking keeps one 5-tuple on one backend.
        let pick =
            (u64::from(l.client) << 16 | u64::from(port)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let txn = Txn {
            client: POD_NET + 256 + l.client,
            lookup,
            name: l.name,
            parent: u32::MAX,
            attempt: 0,
            qtype,
            id: self.rng.u64() as u16,
            port,
            namespace: l.namespace,
            server: ((pick >> 40) % u64::from(o.servers)) as u8,
            stage: l.stage,
            copies,
            rcode: 0,
            refs: 0,
            tries: 0,
            loss: Loss::None,
            upstream: false,
            v6: l.v6,
            tcp,
            tc: false,
            edns: l.edns,
            mixed: self.rng.chance(o.mixed_case),
            answered: false,
        };
        let i = self.alloc(txn);
        self.send(i, t);
    }

    fn service_time(&mut self) -> u64 {
        self.rng.log_normal(120_000.0, 0.5) as u64
    }

    fn send(&mut self, i: u32, t: u64) {
        let o = self.o;
        let name_broken;
        let kind;
        {
            let n = &self.names[self.txns[i as usize].name as usize];
            name_broken = n.broken;
            kind = n.kind;
        }
        let hit = self.rng.chance(0.8);
        let fail = self.rng.f64();
        let lost = self.rng.chance(o.timeout);
        let which = self.rng.below(10);
        let tc = self.rng.chance(o.truncated);
        let delay = self.service_time();
        let x = &mut self.txns[i as usize];
        x.attempt += 1;
        x.tries += 1;
        x.loss = match (lost, which) {
            (false, _) => Loss::None,
            (_, 0..=3) if !x.upstream && !x.tcp => Loss::AtDnat,
            (_, 4..=5) if !x.upstream && !x.tcp => Loss::OnReturn,
            (_, 6) => Loss::Late,
            _ => Loss::Silent,
        };
        let stage_nx = match kind {
            Kind::Short => false,
            Kind::Cross => x.stage == 0,
            Kind::External => x.stage != AS_IS,
            Kind::Ptr => false,
        };
        x.rcode = if stage_nx || name_broken {
            3
        } else if fail < o.servfail {
            2
        } else if fail < o.servfail + o.refused {
            5
        } else {
            0
        };
        x.tc = tc && !x.tcp && !x.upstream && x.rcode == 0 && kind == Kind::External;
        let (tcp, upstream, loss, copies) = (x.tcp, x.upstream, x.loss, x.copies);
        let needs_upstream =
            !upstream && kind == Kind::External && x.stage == AS_IS && !hit && loss == Loss::None;
        self.truth.queries += 1;
        self.truth.tcp += u64::from(tcp);
        self.truth.upstream += u64::from(upstream);
        let mut arrived = t;
        if tcp {
            for step in [2u8, 3, 4] {
                arrived = self.emit(i, arrived, step, copies) + 15_000;
            }
            arrived = self.emit(i, arrived, 0, copies);
        } else {
            let n = if loss == Loss::AtDnat { copies.div_ceil(2).min(copies) } else { copies };
            arrived = self.emit(i, arrived, 0, n);
        }
        self.hold(i, t + RETRY_NS, Ev::Retry { txn: i });
        match loss {
            Loss::AtDnat => self.truth.lost_at_dnat += 1,
            Loss::Silent => self.truth.silent += 1,
            Loss::Late => {
                self.truth.late += 1;
                let extra = self.rng.below(4_000_000) as u64 * 1000;
                self.hold(i, t + RETRY_NS + 50_000_000 + extra, Ev::Reply { txn: i });
            }
            _ if upstream => {
                let d = self.rng.log_normal(12e6, 0.9) as u64;
                self.hold(i, arrived + d, Ev::Reply { txn: i });
            }
            _ if needs_upstream => {
                let x = &self.txns[i as usize];
                let child = Txn {
                    client: POD_NET + 2 + u32::from(x.server),
                    parent: i,
                    attempt: 0,
                    id: self.rng.u64() as u16,
                    port: 1024 + self.rng.below(64000) as u16,
                    copies: copies.min(2),
                    refs: 0,
                    tries: 0,
                    upstream: true,
                    v6: false,
                    tcp: false,
                    tc: false,
                    edns: true,
                    answered: false,
                    ..x.clone()
                };
                self.txns[i as usize].refs += 1; // released when the child is done
                let c = self.alloc(child);
                self.send(c, arrived + delay / 2);
            }
            _ => {
                if loss == Loss::OnReturn {
                    self.truth.lost_on_return += 1;
                }
                self.hold(i, arrived + delay, Ev::Reply { txn: i });
            }
        }
    }

    /// Schedules `n` copies; returns when the last one crosses.
    fn emit(&mut self, i: u32, t: u64, step: u8, n: u8) -> u64 {
        let mut at = t;
        for copy in 0..n {
            self.hold(i, at, Ev::Pkt { txn: i, step, copy });
            at += 1_000 + u64::from(self.rng.below(7_000));
        }
        at
    }

    pub(crate) fn reply(&mut self, i: u32, t: u64) {
        let x = &mut self.txns[i as usize];
        let (copies, loss, tcp) = (x.copies, x.loss, x.tcp);
        if loss == Loss::OnReturn {
            let n = (copies / 2).max(u8::from(copies == 1));
            if copies > 1 {
                self.emit(i, t, 1, n);
            }
            return;
        }
        let mut at = self.emit(i, t, 1, copies);
        if tcp {
            for step in [5u8, 6, 7] {
                at = self.emit(i, at + 10_000, step, copies);
            }
        }
        self.hold(i, at, Ev::Done { txn: i });
    }

    pub(crate) fn done(&mut self, i: u32, t: u64) {
        let x = &mut self.txns[i as usize];
        if x.answered {
            return;
        }
        x.answered = true;
        let (rcode, lookup, parent, upstream, tc) = (x.rcode, x.lookup, x.parent, x.upstream, x.tc);
        self.truth.answered += 1;
        self.truth.rcode[rcode as usize] += 1;
        if upstream {
            self.txns[parent as usize].rcode = rcode;
            let d = self.service_time() / 2;
            self.hold(parent, t + d, Ev::Reply { txn: parent });
            self.release(parent);
            return;
        }
        if tc {
            self.truth.truncated += 1;
            let mut again = self.txns[i as usize].clone();
            again.refs = 0;
            again.tries = 0;
            again.attempt = 0;
            again.answered = false;
            again.tcp = true;
            again.port = 32768 + self.rng.below(28232) as u16;
            let n = self.alloc(again);
            self.send(n, t + 60_000);
            return;
        }
        self.finish_one(lookup, rcode == 0, t);
    }

    fn finish_one(&mut self, lookup: u32, found: bool, t: u64) {
        let l = &mut self.lookups[lookup as usize];
        l.found |= found;
        l.pending -= 1;
        if l.pending > 0 {
            return;
        }
        if !l.found && l.search && l.stage < AS_IS {
            l.stage += 1;
            self.start_stage(lookup, t + 30_000);
        } else {
            self.free_lookup.push(lookup);
        }
    }

    pub(crate) fn retry(&mut self, i: u32, t: u64) {
        let x = &self.txns[i as usize];
        // A server still waiting for its upstream: the client gives up waiting just the same.
        if x.answered {
            return;
        }
        if x.tries < 2 {
            self.truth.retries += 1;
            self.send(i, t);
        } else {
            let (lookup, upstream, parent) = (x.lookup, x.upstream, x.parent);
            self.txns[i as usize].answered = true;
            self.truth.unanswered += 1;
            if upstream {
                // The server reports its failure to the client.
                self.txns[parent as usize].rcode = 2;
                self.hold(parent, t, Ev::Reply { txn: parent });
                self.release(parent);
            } else {
                self.finish_one(lookup, false, t);
            }
        }
    }

    pub(crate) fn release(&mut self, i: u32) {
        let x = &mut self.txns[i as usize];
        x.refs -= 1;
        if x.refs == 0 {
            self.free_txn.push(i);
        }
    }

    fn write_name(&mut self, i: u32) {
        let x = &self.txns[i as usize];
        let start = self.dns.len();
        self.dns.extend_from_slice(&self.names[x.name as usize].wire);
        if x.stage < AS_IS {
            self.dns.extend_from_slice(&self.suffix[x.namespace as usize][x.stage as usize]);
        }
        self.dns.push(0);
        if x.mixed {
            // The same spelling in the query and in its answer: derived from the id.
            let mut bits = u32::from(x.id) | 0x5a5a_0000;
            for b in &mut self.dns[start..] {
                if b.is_ascii_lowercase() && bits & 1 == 1 {
                    *b = b.to_ascii_uppercase();
                }
                bits = bits.rotate_right(1);
            }
        }
    }

    fn message(&mut self, i: u32, response: bool) {
        let x = self.txns[i as usize].clone();
        self.dns.clear();
        let n = &self.names[x.name as usize];
        let (cnames, addrs, external) = (n.cnames, n.addrs, n.kind == Kind::External);
        let ok = response && x.rcode == 0;
        let (answers, soa) = match (ok, x.tc, x.qtype) {
            (true, true, _) => (0u16, 0u16),
            (true, _, A) => (u16::from(cnames) + u16::from(addrs), 0),
            (true, _, AAAA) if external && x.name.is_multiple_of(3) => (u16::from(cnames) + 1, 0),
            (true, _, PTR) => (1, 0),
            (true, _, _) => (0, 1),
            (false, _, _) => (0, u16::from(response && x.rcode == 3)),
        };
        let mut flags: u16 = 0x0100;
        if response {
            flags |= 0x8000 | 0x0080 | u16::from(x.rcode);
            if !external {
                flags |= 0x0400;
            }
            if x.tc {
                flags |= 0x0200;
            }
        }
        for v in [x.id, flags, 1, answers, soa, u16::from(x.edns)] {
            self.dns.extend_from_slice(&v.to_be_bytes());
        }
        self.write_name(i);
        self.dns.extend_from_slice(&x.qtype.to_be_bytes());
        self.dns.extend_from_slice(&[0, 1]);
        let mut owner: u16 = 12;
        let ttl = if external { 60 + x.name % 240 } else { 30 };
        let c = if answers > 0 { cnames } else { 0 };
        for k in 0..answers {
            if external {
                self.dns.extend_from_slice(&(0xc000 | owner).to_be_bytes());
            } else {
                self.write_name(i); // CoreDNS does not compress a small answer
            }
            let is_cname = k < u16::from(c);
            let rtype = if is_cname { 5 } else { x.qtype };
            self.dns.extend_from_slice(&rtype.to_be_bytes());
            self.dns.extend_from_slice(&[0, 1]);
            self.dns.extend_from_slice(&ttl.to_be_bytes());
            if is_cname {
                owner = self.dns.len() as u16 + 2;
                let label = format!("lb-{}", x.name % 1000);
                self.dns.extend_from_slice(&(label.len() as u16 + 4 + 4).to_be_bytes());
                names::push_label(&mut self.dns, &label);
                names::push_label(&mut self.dns, "cdn");
                self.dns.extend_from_slice(&[0xc0, 12]);
                // 1 + label + 1 + 3 + 2
                let len = label.len() as u16 + 1 + 4 + 2;
                let at = owner as usize - 2;
                self.dns[at..at + 2].copy_from_slice(&len.to_be_bytes());
            } else if x.qtype == A {
                self.dns.extend_from_slice(&[0, 4]);
                self.dns
                    .extend_from_slice(&(0x0a70_0000 + x.name * 8 + u32::from(k)).to_be_bytes());
            } else if x.qtype == AAAA {
                self.dns.extend_from_slice(&[0, 16, 0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0]);
                self.dns.extend_from_slice(&x.name.to_be_bytes());
            } else {
                self.dns.extend_from_slice(&[0, 17]);
                names::push_label(&mut self.dns, "pod-000");
                names::push_label(&mut self.dns, "cluster");
                self.dns.push(0);
            }
        }
        if soa == 1 {
            if x.stage < 3 {
                names::push_label(&mut self.dns, "cluster");
                names::push_label(&mut self.dns, "local");
                self.dns.push(0);
            } else {
                self.dns.extend_from_slice(&[0xc0, 12]);
            }
            self.dns.extend_from_slice(&[0, 6, 0, 1, 0, 0, 0, 30]);
            let at = self.dns.len();
            self.dns.extend_from_slice(&[0, 0]);
            for l in ["ns", "dns"] {
                names::push_label(&mut self.dns, l);
            }
            self.dns.extend_from_slice(&[0xc0, 12]);
            names::push_label(&mut self.dns, "hostmaster");
            self.dns.extend_from_slice(&[0xc0, 12]);
            for v in [1_700_000_000u32, 7200, 1800, 86400, 30] {
                self.dns.extend_from_slice(&v.to_be_bytes());
            }
            let len = (self.dns.len() - at - 2) as u16;
            self.dns[at..at + 2].copy_from_slice(&len.to_be_bytes());
        }
        if x.edns {
            self.dns.extend_from_slice(&[0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0]);
        }
    }

    pub(crate) fn packet(&mut self, i: u32, step: u8, copy: u8) {
        let x = self.txns[i as usize].clone();
        let to_server = matches!(step, 0 | 2 | 4 | 5 | 7);
        let pre_copies = x.copies.div_ceil(2);
        let pre = if to_server { copy < pre_copies } else { copy >= x.copies - pre_copies };
        let server_ip = POD_NET + 2 + u32::from(x.server);
        let (client, server) = if x.upstream {
            (if pre { x.client } else { NODE }, UPSTREAM)
        } else {
            (x.client, if pre { VIP } else { server_ip })
        };
        let client = Side { ip: client, port: x.port };
        let server = Side { ip: server, port: 53 };
        let (src, dst) = if to_server { (client, server) } else { (server, client) };
        let veth = 10 + (x.client & 0xff);
        let f = Frame {
            link: self.o.link,
            v6: x.v6,
            ifindex: match (x.copies, pre, copy) {
                (1, _, _) | (_, true, 0) => veth,
                (_, true, 1) => 4,
                (_, true, _) => veth,
                (_, false, _) => 2 + u32::from(copy & 1),
            },
            direction: if to_server == pre { 0 } else { 4 },
            src,
            dst,
        };
        let ident = (u32::from(x.id) ^ (x.attempt << 3) ^ u32::from(step) << 9) as u16;
        let mut frame = std::mem::take(&mut self.frame);
        if step < 2 {
            self.message(i, step == 1);
        }
        if !x.tcp {
            f.udp(&mut frame, &self.dns, ident);
        } else {
            let (c0, s0) = (u32::from(x.id) << 12, u32::from(x.port) << 12);
            let qlen = 2 + self.query_len(&x);
            match step {
                2 => f.tcp(&mut frame, c0, 0, SYN, &[], ident),
                3 => f.tcp(&mut frame, s0, c0 + 1, SYN | ACK, &[], ident),
                4 => f.tcp(&mut frame, c0 + 1, s0 + 1, ACK, &[], ident),
                0 | 1 => {
                    let len = self.dns.len() as u16;
                    let mut seg = Vec::with_capacity(self.dns.len() + 2);
                    seg.extend_from_slice(&len.to_be_bytes());
                    seg.extend_from_slice(&self.dns);
                    if step == 0 {
                        f.tcp(&mut frame, c0 + 1, s0 + 1, PSH | ACK, &seg, ident);
                    } else {
                        f.tcp(&mut frame, s0 + 1, c0 + 1 + qlen, PSH | ACK, &seg, ident);
                    }
                }
                5 => f.tcp(&mut frame, c0 + 1 + qlen, s0 + 1, FIN | ACK, &[], ident),
                6 => f.tcp(&mut frame, s0 + 1, c0 + 2 + qlen, FIN | ACK, &[], ident),
                _ => f.tcp(&mut frame, c0 + 2 + qlen, s0 + 2, ACK, &[], ident),
            }
        }
        self.frame = frame;
    }

    fn query_len(&self, x: &Txn) -> u32 {
        let mut n = 12 + self.names[x.name as usize].wire.len() + 5;
        if x.stage < AS_IS {
            n += self.suffix[x.namespace as usize][x.stage as usize].len();
        }
        if x.edns {
            n += 11;
        }
        n as u32
    }
}
