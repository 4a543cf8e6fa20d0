//! `dnswhy` reads packet captures offline and says why DNS failed: a ranked incident report with
//! the root cause, the culprit, the time window, who was hurt, the frames that prove it, and the
//! next command to type.
//!
//! # Bird's-eye view
//!
//! Data flows one way, through layers that know only those to their left:
//!
//! ```text
//! capture ─▶ packet ─▶ dns ─▶ flow ─▶ transaction ─▶ lookup ─▶ detect ─▶ incident ─▶ report  ─▶ archive
//!  files     L2-L4     wire   5-tuple  matcher       client    one file  attribute  text md    join sets
//!  ring      tunnels   view   TCP ICMP NAT legs      behaviour per rule  rank       json       index
//! ```
//!
//! [`capture`] reads files into frames, [`packet`] peels a frame down to its innermost packet,
//! [`dns`] reads messages from bytes, [`flow`] puts streams in order and hands on whole messages,
//! [`transaction`] pairs queries with responses and folds the copies and NAT legs that `-i any`
//! shows, [`lookup`] rebuilds what an application asked for once and how long it waited,
//! [`detect`] holds the rules, [`incident`] charges every harmed lookup to one cause and ranks,
//! [`analysis`] wires all that together, [`report`] writes it down, and [`archive`] says what the
//! reports of many capture sets say together. `base` is what all speak in,
//! `cli` is the only part that prints. `tests/tidy.rs` holds the tree to this order.
//!
//! # To add a rule
//!
//! Write `src/detect/rules/<name>.rs`: its module docs are what `dnswhy rules <id>` prints, its
//! `DETECTOR` is the descriptor, its `Detector` says what it wants to see ([`detect::Interest`]: nearly
//! all transactions are plain and nearly all lookups smooth, and few rules need those), watches that go
//! by, and looks at the shared [`detect::Scene`] at the end. Register it with one line in `rules/mod.rs`.
//!
//! What it says to people is English in the code: `text!("{server} answered nothing", server)`, with
//! `plain(…)` around a string that reads the same in every language. Commands stay `format!`. The
//! compiler checks that placeholders and arguments agree. Then run
//! `UPDATE_GOLDEN=1 cargo test --test lang`: it adds the new messages to the catalogues in `locales/`
//! and names each one that has no Chinese yet, with its file. The explanation goes to
//! `locales/zh/rules/<id>.md`, and its id into `report/explanations.rs`. Who writes no Chinese leaves
//! these to the review: a message without a translation is said in English.
//!
//! # Invariants
//!
//! - No frame is lost in the accounts: `frames = dns_frames + not_dns + undecodable`.
//! - Capture time only, in integer nanoseconds; no clock is read below `cli`.
//! - Nothing grows without a named bound, and reaching one is counted and reported.
//! - Every claim leads to frames that can be opened in Wireshark.
//! - The report does not depend on the order of arguments or on the directory of the captures.
//! - Bad input is counted and reported; it never panics and is never silent.
//!
//! # Deliberately absent
//!
//! Live capture, packet contents beyond DNS, and network access: `dnswhy` reads files, offline. Only
//! with the feature `remote` does `cli` open captures that lie in an object store, and only those
//! that were named.

pub mod base;

pub mod capture;

pub mod packet;

pub mod dns;

pub mod flow;

pub mod transaction;

pub mod lookup;

pub mod detect;

pub mod incident;

pub mod analysis;

pub mod report;

pub mod archive;

#[cfg(any(test, feature = "testkit"))]
pub mod testkit;

pub mod cli;
