//! The cluster's DNS and the way to it: every exchange becomes lines of a scenario.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::random::Random;

/// Where the hour is captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    /// At the pods.
    Pod,
    /// On their node, on every interface.
    Node,
    /// On the node of one of the three backends.
    BackendNode,
}

/// A client's socket; conntrack pins it to one backend.
#[derive(Debug, Clone)]
pub(crate) struct Socket {
    client: String,
    port: u16,
    backend: &'static str,
}

/// What a server says of a name and type.
enum Answer {
    /// From memory.
    Here(String),
    /// From its cache of the outer world, or from there after so long.
    Outside(String, f64),
}

const BACKENDS: [&str; 3] = ["dns1", "dns2", "dns3"];
const SOA: &str = "30 SOA ns.dns.cluster.local. hostmaster.cluster.local. 1 7200 1800 86400 5";
const OUTER_SOA: &str = "60 SOA ns1.example.net. hostmaster.example.net. 1 7200 1800 86400 300";

/// The lines so far.
pub(crate) struct Network {
    pub(crate) random: Random,
    view: View,
    loss: f64,
    text: String,
    ports: BTreeMap<String, u16>,
    id: u16,
}

impl Network {
    /// A cluster that loses this share of its datagrams.
    pub(crate) fn new(view: View, random: Random, loss: f64) -> Self {
        let capture = match view {
            View::Pod => "capture pod en10mb",
            View::Node => "capture node sll2",
            View::BackendNode => "capture backend-node sll2 dns1",
        };
        let text = format!(
            "{capture}\nservice kube-dns = 10.96.0.10\ndns1 = 10.244.1.10\ndns2 = 10.244.2.10\n\
             dns3 = 10.244.3.10\nresolver = 192.0.2.53\n"
        );
        Self { random, view, loss, text, ports: BTreeMap::new(), id: 0 }
    }

    /// The scenario.
    pub(crate) fn into_text(self) -> String {
        self.text
    }

    /// A new socket of `client`, with the next of its ports.
    pub(crate) fn socket(&mut self, client: &str) -> Socket {
        let first = 32_768 + self.random.below(20_000);
        let port = self.ports.entry(client.to_owned()).or_insert(first);
        *port = if *port > 60_000 { 32_769 } else { *port + 1 + self.random.below(3) };
        Socket { client: client.to_owned(), port: *port, backend: self.random.pick(&BACKENDS) }
    }

    /// An id that was not used shortly before.
    pub(crate) fn id(&mut self) -> u16 {
        self.id = self.id.wrapping_add(1);
        self.id.wrapping_mul(0x9e37)
    }

    /// Asks at `at`; when the answer is back, if nothing is lost.
    pub(crate) fn ask(&mut self, at: f64, socket: &Socket, id: u16, question: &str) -> Option<f64> {
        let Socket { client, port, backend } = socket;
        let head = format!("{client}:{port}");
        let query = format!("> kube-dns via {backend} id {id:04x} rd {question}");
        if self.random.chance(self.loss) {
            let place = self.random.pick(&["overlay", "far-overlay"]);
            self.line(at, &format!("{head} {query} until {place}"));
            return None;
        }
        self.line(at, &format!("{head} {query}"));
        let (said, wait) = match answer(question) {
            Answer::Here(said) => (said, self.random.between(0.000_4, 0.001_5)),
            Answer::Outside(said, _) if self.random.chance(0.7) => {
                (said, self.random.between(0.000_5, 0.002))
            }
            Answer::Outside(said, usual) => {
                // Now and then an authority is far away or has to be found first.
                let slow = if self.random.chance(0.01) { 20.0 } else { 1.0 };
                let wait = self.random.between(0.5, 2.0) * usual * slow;
                self.forward(at + 0.000_4, backend, question, &said, wait);
                (said, wait + 0.001)
            }
        };
        let back = at + wait;
        let lost = self.random.chance(self.loss);
        let until = if lost { " until far-overlay" } else { "" };
        let reply = format!("{head} < kube-dns via {backend} id {id:04x} {said}{until}");
        self.line(back, &reply);
        (!lost).then_some(back)
    }

    /// The leg to the upstream resolver, which only the backend's node sees.
    fn forward(&mut self, at: f64, backend: &str, question: &str, said: &str, wait: f64) {
        if self.view != View::BackendNode || backend != "dns1" {
            return;
        }
        let id = self.id();
        let port = 40_000 + self.random.below(20_000);
        self.line(at, &format!("{backend}:{port} > resolver id {id:04x} rd {question}"));
        self.line(at + wait, &format!("{backend}:{port} < resolver id {id:04x} {said}"));
    }

    fn line(&mut self, at: f64, words: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{at:.6} {words}");
    }
}

/// What the cluster's DNS says to `question`, a type and a name.
fn answer(question: &str) -> Answer {
    let (rtype, name) = question.split_once(' ').unwrap_or(("A", question));
    let name = name.split(' ').next().unwrap_or(name);
    let hosts: u32 = name.bytes().map(u32::from).sum();
    let host = hosts % 200 + 1;
    if name.ends_with(".in-addr.arpa.") {
        return Answer::Here(format!("NXDOMAIN aa auth in-addr.arpa. {SOA}"));
    }
    if name.ends_with(".cluster.local.") {
        let known = is_service(name);
        return Answer::Here(match (known, rtype) {
            (true, "A") => format!("aa {name} 30 A 10.96.1.{host}"),
            (true, _) => format!("aa auth cluster.local. {SOA}"),
            (false, _) => format!("NXDOMAIN aa auth cluster.local. {SOA}"),
        });
    }
    if name.ends_with(".internal.") {
        return Answer::Outside(format!("NXDOMAIN auth internal. {OUTER_SOA}"), 0.004);
    }
    let two_families = !name.contains("legacy");
    Answer::Outside(
        match rtype {
            "A" => format!("{name} 60 A 203.0.113.{host} ; {name} 60 A 198.51.100.{host}"),
            "AAAA" if two_families => format!("{name} 60 AAAA 2001:db8::{host:x}"),
            _ => format!("auth {name} {OUTER_SOA}"),
        },
        0.02,
    )
}

/// Whether it is a Service of the cluster: one label, a namespace, and the rest.
pub(crate) fn is_service(name: &str) -> bool {
    let labels: Vec<&str> = name.split('.').collect();
    let ["redis" | "orders" | "mail" | "ledger", "shop" | "infra", "svc", rest @ ..] =
        labels.as_slice()
    else {
        return false;
    };
    rest == ["cluster", "local", ""]
}
