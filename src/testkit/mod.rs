//! Text scenarios: what was said on the wire, written like a conversation, turned into frames
//! and into capture files of any kind.
//!
//! ```
//! use dnswhy::testkit::{PcapOptions, Scenario};
//!
//! let scenario = Scenario::parse("
//!     laptop = 10.0.0.5:40001
//!     dns1   = 192.0.2.53                       # port 53 where none is given
//!     0.000  laptop > dns1  id 1a2b  rd  A example.com.
//!     0.012  laptop < dns1  id 1a2b  REFUSED
//! ");
//! assert_eq!(scenario.frames().len(), 2);
//! assert_eq!(scenario.write_pcap(&PcapOptions::default()).len(), 1);
//! ```
//!
//! # The language
//!
//! One statement a line; `#` at the beginning of a word starts a comment.
//!
//! | statement | meaning |
//! | --- | --- |
//! | `NAME = ADDR[:PORT]` | a host; IPv6 with a port is `[2001:db8::1]:53` |
//! | `service NAME = ADDR[:PORT]` | a service address, translated to a backend on the node |
//! | `capture VIEW LINK …` | where the capture was taken, see below |
//! | `start TIME` | the time that 0 stands for; 2026-01-05T10:00:00Z by default |
//! | `--- next file` | what follows is in the next file |
//! | `repeat N every S [from S] [same-port] [same-id]` … `end` | the lines between, N times |
//! | `T  A > B  words` | at T seconds, client A sends to server B |
//! | `T  A < B  words` | at T seconds, server B sends to client A |
//! | `T  icmp KIND N [from NAME]` | an ICMP error about line N, sent by whom that line went to |
//!
//! The client always stands on the left. A host is written as `NAME`, `NAME:PORT` or as an
//! address; without any port, clients use 40000 and servers 53. Statements are carried out in
//! order of time, whatever order they are written in.
//!
//! ## Messages
//!
//! Words in any order: `id 1a2b` (hex; queries without get one of their own, responses without
//! answer the latest query), flags `rd ad cd aa ra tc`, `edns 1232`, `do`, `ede 22`, `cookie`,
//! `opcode NOTIFY`, an RCODE mnemonic, `class CH`, and
//!
//! - in a query the question: `AAAA example.com.`
//! - in a response records `owner ttl TYPE rdata`, several of them with or without `;` between;
//!   after `auth` they go to the authority section, after `add` to the additional one. The
//!   question is repeated from the latest query with that id between the two (or, if there is
//!   none, from the client to anybody), unless `? A other.name.` gives another, or
//!   `noquestion` none. RD is copied from the query.
//!
//! `raw 0a0b…` sends these bytes instead of a message.
//!
//! ## Carriage
//!
//! | words | meaning |
//! | --- | --- |
//! | `tcp` | the message goes over TCP, in the stream between the two; a handshake may be missing |
//! | `tcp syn`, `tcp syn-ack`, `tcp ack`, `tcp rst`, `tcp fin` | a segment without payload |
//! | `again` | with `tcp`: a retransmission of the sender's latest segment |
//! | `split 20` | with `tcp`: two segments, the second from byte 20 on |
//! | `icmp KIND [N] [from NAME]` | an error about line N, or about the latest datagram the other way |
//! | `lost` | sent, but not captured |
//! | `cut 60` | captured with a snap length of 60 bytes |
//! | `fragment 2` | two IP fragments |
//! | `fragment 2 alone` | the same, of which the filter `port 53` shows only the first |
//! | `ipid 0`, `ttl 60` | instead of the sender's counter, and of 64 at the sender |
//! | `stamped 3.5` | the capture says 3.5 s, though it came in its place: a clock that stepped |
//!
//! ICMP kinds: `port-unreachable`, `host-unreachable`, `net-unreachable`, `admin-prohibited`,
//! `too-big`, `time-exceeded`. Lines count from 1; inside `repeat` within their own round.
//!
//! ## Repetition
//!
//! Times inside a block are relative to its round. In round n, counted from 0, `{n}` becomes n
//! and `{n+7}` n + 7; client ports and given ids grow by 16 a round, so that neighbouring ports
//! and ids of one round do not meet those of the next.
//!
//! ## Where the capture was taken
//!
//! - `capture pod en10mb` (the default): one sighting each, as at the client itself.
//! - `capture node sll2 [ipvs] [only PLACE] [BACKEND…]`: on the node of all clients, on every
//!   interface, as rulebook K3 measured it. The backends named live on the same node.
//! - `capture backend-node sll2 [only PLACE] [BACKEND…]`: on the node of the backends that are
//!   named, or of all backends.
//!
//! Links: `en10mb`, `sll`, `sll2`, `raw`, `null`. Words for these views:
//!
//! | words | meaning |
//! | --- | --- |
//! | `via coredns1` | the backend; needed on the first line of a flow to a service, then remembered |
//! | `until PLACE` | the place where it was seen last |
//! | `since PLACE` | the place where it was seen first, as for an error the node itself sends |
//! | `otherhost` | on a response: at the client's node only on the overlay, with that type |
//!
//! A query passes the places `veth`, `bridge`, `overlay` of the client's node and then
//! `far-overlay`, `far-bridge`, `far-veth` of the backend's; a response the other way round. A
//! line's time is the one at the client's node (at its first place there).

mod diagnose;
mod link;
mod node;
mod packets;
mod pcap;
mod rdata;
mod repeat;
mod scenario;
mod script;
mod situations;
mod stage;
mod talk;
mod tcp;
mod token;
mod view;
mod wire;
mod words;

#[cfg(test)]
mod tests;

pub use diagnose::{analyse, analyse_until, findings, findings_until, health, lookups};
pub use pcap::{Compression, Format, PcapOptions};
pub use scenario::{MadeFrame, Scenario, ScenarioError};
pub use situations::{Fate, Situation, failover};
