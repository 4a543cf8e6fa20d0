//! The names asked for, as wire-format labels without the closing root.

use crate::rng::Rng;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `svc`: found with the client's own first search suffix.
    Short,
    /// `svc.ns`: found with the second suffix.
    Cross,
    /// An outside name: a resolver with ndots:5 asks it with every suffix first.
    External,
    /// Reverse lookup; never expanded.
    Ptr,
}

pub struct Name {
    pub wire: Box<[u8]>,
    pub kind: Kind,
    /// The name itself does not exist.
    pub broken: bool,
    /// CNAMEs before the addresses.
    pub cnames: u8,
    pub addrs: u8,
}

const WORDS: [&str; 40] = [
    "api", "auth", "billing", "cache", "cart", "catalog", "checkout", "config", "core", "data",
    "edge", "events", "feed", "files", "gateway", "graph", "identity", "images", "ingest", "jobs",
    "kafka", "ledger", "login", "mail", "media", "metrics", "orders", "payments", "postgres",
    "profile", "proxy", "queue", "redis", "search", "session", "store", "stream", "users", "vault",
    "web",
];
const TLDS: [&str; 8] = ["com", "net", "org", "io", "dev", "cloud", "co", "example"];

pub fn push_label(out: &mut Vec<u8>, l: &str) {
    out.push(l.len() as u8);
    out.extend_from_slice(l.as_bytes());
}

pub fn build(n: usize, namespaces: u32, rng: &mut Rng) -> Vec<Name> {
    let word = |r: &mut Rng| WORDS[r.below(WORDS.len() as u32) as usize];
    (0..n)
        .map(|i| {
            let mut w = Vec::with_capacity(48);
            let kind = match rng.below(100) {
                0..=19 => Kind::Short,
                20..=47 => Kind::Cross,
                48..=96 => Kind::External,
                _ => Kind::Ptr,
            };
            match kind {
                Kind::Short => push_label(&mut w, &format!("{}-{}", word(rng), i % 997)),
                Kind::Cross => {
                    push_label(&mut w, &format!("{}-{}", word(rng), i % 997));
                    push_label(&mut w, &format!("team-{}", rng.below(namespaces)));
                }
                Kind::External => {
                    match rng.below(4) {
                        0 => push_label(&mut w, word(rng)),
                        1 => push_label(&mut w, &format!("{}{}", word(rng), i)),
                        2 => {
                            push_label(&mut w, word(rng));
                            push_label(&mut w, &format!("eu-west-{}", rng.below(4)));
                        }
                        _ => push_label(&mut w, &format!("{:016x}", rng.u64())),
                    }
                    push_label(&mut w, &format!("{}{}", word(rng), rng.below(3000)));
                    push_label(&mut w, TLDS[rng.below(8) as usize]);
                }
                Kind::Ptr => {
                    for _ in 0..2 {
                        push_label(&mut w, &rng.below(256).to_string());
                    }
                    for l in ["244", "10", "in-addr", "arpa"] {
                        push_label(&mut w, l);
                    }
                }
            }
            Name {
                wire: w.into_boxed_slice(),
                kind,
                broken: rng.chance(0.03),
                cnames: if kind == Kind::External {
                    [0, 0, 0, 1, 2][rng.below(5) as usize]
                } else {
                    0
                },
                addrs: if kind == Kind::External { 1 + rng.below(4) as u8 } else { 1 },
            }
        })
        .collect()
}
