//! Situations that many rules are tested with, as scenario texts.

use std::fmt::Write;

/// What becomes of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Answered after a millisecond.
    Answered,
    /// Lost behind the node; repeated once after five seconds, in vain.
    Lost,
    /// Lost; the repeat after five seconds is answered.
    LostOnce,
    /// The answer reaches the overlay device and is meant for another link address; repeated once.
    OtherHost,
    /// ICMP port unreachable comes back from the backend at once.
    Unreachable,
}

/// A conversation in the making: each question from a port and with an id of its own.
#[derive(Debug, Clone)]
pub struct Situation {
    text: String,
    asked: u16,
}

impl Situation {
    /// Begins with these lines: hosts, services, the capture's view.
    pub fn new(hosts: &str) -> Self {
        Self { text: format!("{hosts}\n"), asked: 0 }
    }

    /// A node's view of a service `kube-dns` with three backends, `dns1` to `dns3`, and pods `pod`
    /// and `near` on this node and `far` on another.
    pub fn cluster() -> Self {
        Self::new(
            "capture node sll2\nservice kube-dns = 10.96.0.10\ndns1 = 10.244.1.10\n\
             dns2 = 10.244.2.10\ndns3 = 10.244.3.10\npod = 10.244.0.2\nnear = 10.244.0.3\n\
             far = 10.244.9.2",
        )
    }

    /// `client` asks `server` at `at`, through the backend `via` if there is one.
    pub fn ask(&mut self, at: f64, client: &str, server: &str, via: &str, fate: Fate) {
        self.ask_for(at, client, server, via, fate, "redis.default.svc.cluster.local.");
    }

    /// The same for a name.
    pub fn ask_for(
        &mut self,
        at: f64,
        client: &str,
        server: &str,
        via: &str,
        fate: Fate,
        name: &str,
    ) {
        self.asked += 1;
        let (port, id) = (20_000 + self.asked, 0x1000 + self.asked);
        let via = if via.is_empty() { String::new() } else { format!("via {via} ") };
        let query = format!("{client}:{port} > {server} {via}id {id:x} rd A {name}");
        let answer = format!("{client}:{port} < {server} {via}id {id:x} {name} 5 A 10.96.0.20");
        self.line(at, &query);
        let again = at + 5.0;
        match fate {
            Fate::Answered => self.line(at + 0.001, &answer),
            Fate::Lost => self.line(again, &query),
            Fate::LostOnce => {
                self.line(again, &query);
                self.line(again + 0.001, &answer);
            }
            Fate::OtherHost => {
                self.line(at + 0.001, &format!("{answer} otherhost"));
                self.line(again, &query);
                self.line(again + 0.001, &format!("{answer} otherhost"));
            }
            Fate::Unreachable => {
                let error = format!("{client}:{port} < {server} {via}icmp port-unreachable");
                self.line(at + 0.001, &error);
            }
        }
    }

    /// Any line at `at`.
    pub fn line(&mut self, at: f64, words: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{at:.4} {words}");
    }

    /// The scenario's text.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// Two backends behind a service; a client asks every half second, one backend after the other.
/// The first falls silent at `dead` and is taken out of the service at `removed`.
pub fn failover(dead: f64, removed: Option<f64>, end: f64) -> String {
    let mut situation = Situation::cluster();
    let (mut at, mut first) = (0.0, true);
    while at < end {
        let silent = first && at >= dead;
        let gone = silent && removed.is_some_and(|removed| at >= removed);
        let via = if first && !gone { "dns1" } else { "dns2" };
        let fate = match (silent && !gone, at + 5.0 < end) {
            (true, true) => Fate::Lost,
            // A query at the capture's end is not repeated any more.
            (true, false) => break,
            _ => Fate::Answered,
        };
        situation.ask(at, "pod", "kube-dns", via, fate);
        at += 0.5;
        first = !first;
    }
    situation.text().to_owned()
}
