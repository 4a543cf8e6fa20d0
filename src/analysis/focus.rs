//! What to look at: a stretch of time, some clients, servers, names.
//!
//! The focus is applied behind the matcher and the grouper: what a transaction or a lookup is, is
//! never changed by it, so no pair is torn at its edge. What lies outside is counted and left out
//! of everything that follows.

use std::net::IpAddr;
use std::time::Duration;

use glob::{MatchOptions, Pattern};
use ipnet::IpNet;

use crate::base::words::{Text, date, list, plain, text};
use crate::base::{Host, Set, Span, Timestamp};
use crate::dns::Name;
use crate::lookup::Lookup;
use crate::transaction::timing::patience;
use crate::transaction::{Closed, Transaction};

/// What to look at; nothing given means everything.
#[derive(Debug, Clone, Default)]
pub struct Focus {
    /// Only what was going on then.
    pub span: Option<Span>,
    /// Only what these clients asked.
    pub clients: Vec<IpNet>,
    /// Only what these servers were asked, before or after translation.
    pub servers: Vec<IpNet>,
    /// Only these names, in full or without their search suffix.
    pub names: Vec<Pattern>,
}

/// What a focus left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// The focus in words; empty if there was none.
    pub focus: Vec<Text>,
    /// Transactions outside of it.
    pub transactions: u64,
    /// Lookups outside of it.
    pub lookups: u64,
}

impl Focus {
    /// Whether it holds everything.
    #[inline]
    pub fn is_everything(&self) -> bool {
        self.span.is_none()
            && self.clients.is_empty()
            && self.servers.is_empty()
            && self.names.is_empty()
    }

    /// The focus in words, one for each bound.
    pub fn words(&self) -> Vec<Text> {
        let mut words = Vec::new();
        if let Some(span) = self.span {
            words.push(match (span.start > Timestamp::MIN, span.end < Timestamp::MAX) {
                (true, true) => {
                    text!(
                        "from {start} to {end} UTC",
                        start = date(span.start),
                        end = date(span.end)
                    )
                }
                (true, false) => text!("from {start} UTC on", start = date(span.start)),
                _ => text!("until {end} UTC", end = date(span.end)),
            });
        }
        if !self.clients.is_empty() {
            let clients = list(self.clients.iter().map(network), self.clients.len());
            words.push(text!("client {clients}", clients));
        }
        if !self.servers.is_empty() {
            let servers = list(self.servers.iter().map(network), self.servers.len());
            words.push(text!("server {servers}", servers));
        }
        if !self.names.is_empty() {
            let names = list(self.names.iter().map(plain), self.names.len());
            words.push(text!("name {names}", names));
        }
        words
    }

    /// Whether it holds what the matcher closed. What one of `forwarders` asked belongs to whoever
    /// asked it: no focus on clients leaves it out.
    #[inline]
    pub(super) fn holds(&self, closed: &Closed, forwarders: &Set<Host>) -> bool {
        self.is_everything() || self.holds_closed(closed, forwarders)
    }

    fn holds_closed(&self, closed: &Closed, forwarders: &Set<Host>) -> bool {
        match closed {
            Closed::Transaction(transaction) => self.holds_transaction(transaction, forwarders),
            Closed::Connect(connect) => {
                let client = connect.client.ip();
                self.overlaps(connect.first().ts, connect.first().ts)
                    && (forwarders.contains(&Host(client)) || self.has_client(client))
                    && self.has_server([connect.responder()])
                    && self.names.is_empty()
            }
        }
    }

    fn holds_transaction(&self, transaction: &Transaction, forwarders: &Set<Host>) -> bool {
        let client = transaction.client.ip();
        self.overlaps(transaction.first().ts, last(transaction))
            && (forwarders.contains(&Host(client)) || self.has_client(client))
            && self.has_server([transaction.server.ip(), transaction.responder()])
            && self.has_name([&transaction.question.name])
    }

    /// Whether it holds a lookup.
    pub(super) fn holds_lookup(&self, lookup: &Lookup, forwarders: &Set<Host>) -> bool {
        if self.is_everything() {
            return true;
        }
        let questions = || lookup.transactions().map(|asked| &asked.question.name);
        let servers = lookup.transactions().flat_map(|t| [t.server.ip(), t.responder()]);
        self.overlaps(lookup.start.ts, lookup.end.unwrap_or_else(|| waited_until(lookup)))
            && (forwarders.contains(&Host(lookup.client)) || self.has_client(lookup.client))
            && self.has_server(servers)
            && self.has_name(std::iter::once(&lookup.name).chain(questions()))
    }

    fn overlaps(&self, from: Timestamp, to: Timestamp) -> bool {
        self.span.is_none_or(|span| span.overlaps(Span::between(from, to)))
    }

    fn has_client(&self, client: IpAddr) -> bool {
        self.clients.is_empty() || self.clients.iter().any(|network| network.contains(&client))
    }

    fn has_server(&self, servers: impl IntoIterator<Item = IpAddr>) -> bool {
        self.servers.is_empty()
            || servers.into_iter().any(|s| self.servers.iter().any(|network| network.contains(&s)))
    }

    fn has_name<'n>(&self, names: impl IntoIterator<Item = &'n Name>) -> bool {
        self.names.is_empty() || names.into_iter().any(|name| self.fits(name))
    }

    /// Whether a pattern fits the name or the name without its last labels.
    fn fits(&self, name: &Name) -> bool {
        let options = MatchOptions { case_sensitive: false, ..MatchOptions::new() };
        let whole = name.to_string();
        let ends = whole.match_indices('.').map(|(at, _)| at).chain([whole.len()]);
        let mut heads = ends.map(|end| &whole[..end]);
        heads.any(|head| self.names.iter().any(|pattern| pattern.matches_with(head, options)))
    }
}

/// The last that was heard of a transaction.
fn last(transaction: &Transaction) -> Timestamp {
    let responses = transaction.responses.iter().map(|response| response.arrived().ts);
    let sent = transaction.last_sent().map(|seen| seen.ts);
    responses.chain(sent).fold(transaction.first().ts, Timestamp::max)
}

/// Until when somebody waited for a lookup whose end is not in the capture, as far as stubs wait.
fn waited_until(lookup: &Lookup) -> Timestamp {
    let waited = lookup.transactions().map(|asked| {
        let patience =
            if asked.responses.is_empty() { patience(&asked.attempts) } else { Duration::ZERO };
        last(asked).after(patience)
    });
    waited.fold(lookup.start.ts, Timestamp::max)
}

/// A whole address without its length.
fn network(network: &IpNet) -> Text {
    if network.prefix_len() == network.max_prefix_len() {
        plain(network.addr())
    } else {
        plain(network)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::{Options, Sinks, run_frames};
    use crate::testkit::{MadeFrame, Scenario};

    #[test]
    fn a_name_fits_with_and_without_its_suffix() {
        let focus = Focus { names: vec![Pattern::new("Redis*.shop").unwrap()], ..Focus::default() };
        let fits = |text: &str| focus.fits(&Name::parse(text).unwrap());
        assert!(fits("redis-0.shop") && fits("redis.shop.svc.cluster.local"));
        assert!(!fits("shop") && !fits("www.redis.shop"));
    }

    /// Where no answer was recorded no lookup has an end; yet each is over some time.
    #[test]
    fn a_lookup_without_an_end_is_not_in_all_that_follows() {
        let text = "pod = 10.244.0.2\ndns = 10.96.0.10\nrepeat 20 every 1\n\
                    0.0  pod > dns rd A n{n}.example.\nend\n";
        let made = Scenario::parse(text).frames();
        let start = made[0].ts.after(Duration::from_millis(15_500));
        let focus = Focus { span: Some(Span { start, end: Timestamp::MAX }), ..Focus::default() };
        let options = Options { focus, ..Options::default() };
        let analysis = run_frames(made.iter().map(MadeFrame::frame), &options, Sinks::default());
        // The last four, and the five before them that may have been waited for still.
        assert_eq!((analysis.outside.transactions, analysis.traffic.transactions), (16, 4));
        assert_eq!((analysis.outside.lookups, analysis.traffic.lookups), (11, 9));
    }

    #[test]
    fn a_focus_says_what_it_is() {
        let focus = Focus {
            span: Some(Span {
                start: Timestamp::from_parts(1_671_710_403, 0),
                end: Timestamp::MAX,
            }),
            clients: vec!["10.244.0.0/24".parse().unwrap(), "10.1.0.7/32".parse().unwrap()],
            ..Focus::default()
        };
        assert_eq!(
            focus.words(),
            ["from 2022-12-22 12:00:03 UTC on", "client 10.244.0.0/24, 10.1.0.7"]
        );
        assert!(Focus::default().is_everything() && !focus.is_everything());
    }
}
