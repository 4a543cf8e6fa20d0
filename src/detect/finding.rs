//! What one detector saw: who is to blame, since when, and the frames that prove it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use super::Descriptor;
use super::harm::{BadStep, HarmKind, Harmed, Steps, Symptom};
use crate::base::words::{Text, ToText, plain, text};
use crate::base::{Network, Span};
use crate::capture::Seen;
use crate::dns::{Name, RecordType};

/// How sure a finding is (rulebook section 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Confidence {
    /// Consistent; alternatives remain.
    Possible,
    /// The signature matched, look-alikes were rejected statistically.
    Likely,
    /// The wire excludes every look-alike.
    Confirmed,
}

impl Confidence {
    /// The factor K of rulebook section 7.3.
    pub const fn factor(self) -> f64 {
        match self {
            Self::Confirmed => 1.0,
            Self::Likely => 0.9,
            Self::Possible => 0.75,
        }
    }

    /// One level less.
    #[must_use]
    pub const fn demoted(self) -> Self {
        match self {
            Self::Confirmed => Self::Likely,
            Self::Likely | Self::Possible => Self::Possible,
        }
    }
}

impl ToText for Confidence {
    fn to_text(&self) -> Text {
        match self {
            Self::Confirmed => text!("confirmed"),
            Self::Likely => text!("likely"),
            Self::Possible => text!("possible"),
        }
    }
}

impl fmt::Display for Confidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_text().fmt(f)
    }
}

/// Who or what is to blame.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Culprit {
    /// The address that clients ask.
    Service(IpAddr),
    /// A server behind a service, or asked directly.
    Backend(IpAddr),
    /// A resolver behind the backends.
    Upstream(IpAddr),
    /// One client.
    Client(IpAddr),
    /// The clients of one prefix.
    ClientSubnet(Network),
    /// The way from one to the other.
    Path(String, String),
    /// One name.
    Name(Name),
    /// A name and everything below it.
    Zone(Name),
    /// A node, by its own address.
    Node(IpAddr),
}

impl Culprit {
    /// The word of the JSON contract.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Service(_) => "service",
            Self::Backend(_) => "backend",
            Self::Upstream(_) => "upstream",
            Self::Client(_) => "client",
            Self::Node(_) | Self::ClientSubnet(Network::Node(_)) => "node",
            Self::ClientSubnet(_) => "client-subnet",
            Self::Path(..) => "path",
            Self::Name(_) => "name",
            Self::Zone(_) => "zone",
        }
    }
}

impl Culprit {
    /// What it is, in a word for people.
    pub fn word(&self) -> Text {
        Self::word_of(self.kind())
    }

    /// What a word of the JSON contract ([`Culprit::kind`]) is for people.
    pub fn word_of(kind: &str) -> Text {
        match kind {
            "service" => text!("service"),
            "backend" => text!("backend"),
            "upstream" => text!("upstream"),
            "client" => text!("client"),
            "client-subnet" => text!("client-subnet"),
            "path" => text!("path"),
            "name" => text!("name"),
            "zone" => text!("zone"),
            "node" => text!("node"),
            other => plain(other),
        }
    }
}

impl ToText for Culprit {}

/// The bare value: an address, a prefix, a name without its final dot, `A -> B`.
impl fmt::Display for Culprit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(address)
            | Self::Backend(address)
            | Self::Upstream(address)
            | Self::Client(address)
            | Self::Node(address) => write!(f, "{address}"),
            Self::ClientSubnet(network) => write!(f, "{network}"),
            Self::Path(from, to) => write!(f, "{from} -> {to}"),
            // Some resolvers draw the case of each query at random.
            Self::Name(name) | Self::Zone(name) => {
                f.write_str(&name.to_string().to_ascii_lowercase())
            }
        }
    }
}

/// Where datagrams died or waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Where {
    /// On the client's own node.
    ClientNode,
    /// Between the client's node and the server.
    PathToServer,
    /// At the server.
    Server,
    /// Between the server and the client's node.
    PathToClient,
    /// Behind the server.
    Upstream,
    /// The capture cannot tell.
    Unknown,
}

impl ToText for Where {
    fn to_text(&self) -> Text {
        match self {
            Self::ClientNode => text!("client-node"),
            Self::PathToServer => text!("path-to-server"),
            Self::Server => text!("server"),
            Self::PathToClient => text!("path-to-client"),
            Self::Upstream => text!("upstream"),
            Self::Unknown => text!("unknown"),
        }
    }
}

impl Where {
    /// The same for people; `None` where it is not known.
    pub fn words(self) -> Option<Text> {
        Some(match self {
            Self::ClientNode => text!("on the clients' own node"),
            Self::PathToServer => text!("on the way to the server"),
            Self::Server => text!("at the server"),
            Self::PathToClient => text!("on the way back to the client"),
            Self::Upstream => text!("behind the server, at its upstream"),
            Self::Unknown => return None,
        })
    }
}

/// The word of the JSON contract.
impl fmt::Display for Where {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_text().fmt(f)
    }
}

/// Which harmed lookups a finding explains: those with a bad step that fits every bound given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claim {
    /// The bad step was sent within this span.
    pub span: Option<Span>,
    /// By one of these clients.
    pub clients: Option<BTreeSet<IpAddr>>,
    /// By a client of this prefix.
    pub network: Option<Network>,
    /// To one of these servers, as asked or as translated.
    pub servers: Option<BTreeSet<IpAddr>>,
    /// For one of these names, or anything below one.
    pub zones: Option<BTreeSet<Name>>,
    /// For a name that is under none of these zones.
    pub outside: BTreeSet<Name>,
    /// For this type.
    pub rtype: Option<RecordType>,
    /// With one of these symptoms; none given means any.
    pub symptoms: BTreeSet<Symptom>,
    /// Only the lookup's last bad step counts: the one that ended it.
    pub last_step: bool,
    /// The lookup itself ended in one of these ways; none given means failed or slow.
    pub kinds: BTreeSet<HarmKind>,
    /// Lookups that this rule shows to have got a wrong answer, though they looked fine, by
    /// first frame and client. The bounds above do not apply to them.
    pub wrong: BTreeMap<(Seen, IpAddr), Harmed>,
}

impl Claim {
    /// Whether it speaks of this client.
    pub fn concerns(&self, client: IpAddr) -> bool {
        self.clients.as_ref().is_none_or(|clients| clients.contains(&client))
            && self.network.is_none_or(|network| network.contains(client))
    }

    /// Whether this finding explains `harmed`, whose bad steps are among `steps`.
    pub fn holds(&self, harmed: &Harmed, steps: &Steps) -> bool {
        if harmed.kind == HarmKind::Wrong {
            return self.wrong.contains_key(&(harmed.start, harmed.client));
        }
        let kind = if self.kinds.is_empty() {
            matches!(harmed.kind, HarmKind::Failed | HarmKind::Slow)
        } else {
            self.kinds.contains(&harmed.kind)
        };
        kind && self.concerns(harmed.client)
            && if self.last_step {
                steps.of(harmed).next_back().is_some_and(|step| self.fits(&step))
            } else {
                steps.of(harmed).any(|step| self.fits(&step))
            }
    }

    /// Whether it is a bad step of the kind that this finding explains.
    pub fn fits(&self, step: &BadStep<'_>) -> bool {
        self.span.is_none_or(|span| span.contains(step.sent))
            && self.servers.as_ref().is_none_or(|servers| {
                servers.contains(&step.asked.server) || servers.contains(&step.asked.responder)
            })
            && self.rtype.is_none_or(|rtype| rtype == step.rtype)
            && (self.symptoms.is_empty() || self.symptoms.contains(&step.symptom))
            && self.zones.as_ref().is_none_or(|zones| lies_in(step.name, zones))
            && !lies_in(step.name, &self.outside)
    }
}

/// Whether `name` is one of `zones` or lies below one. A finding may claim thousands of names, and is
/// asked for every harmed lookup.
fn lies_in(name: &Name, zones: &BTreeSet<Name>) -> bool {
    const FEW: usize = 8;
    if zones.len() <= FEW {
        return zones.iter().any(|zone| name.is_under(zone));
    }
    (0..=name.label_count()).any(|skip| zones.contains(&name.without_leading(skip)))
}

/// A frame that proves something, and what it shows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Proof {
    /// The frame.
    pub seen: Seen,
    /// What it shows, in a few words.
    pub summary: Text,
}

/// A measured fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// What was measured.
    pub label: Text,
    /// The value with its unit.
    pub value: Text,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// What for.
    pub why: Text,
    /// The command to type, with this capture's own addresses and names.
    pub command: String,
}

/// An explanation that was considered and rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuledOut {
    /// Its rule id.
    pub rule: &'static str,
    /// What speaks against it.
    pub because: Text,
}

/// What one detector saw.
#[derive(Debug, Clone)]
pub struct Finding {
    /// The rule.
    pub rule: &'static Descriptor,
    /// One sentence with culprit and window, for the first screen.
    pub title: Text,
    /// How sure it is.
    pub confidence: Confidence,
    /// Who is to blame, the foremost first.
    pub culprits: Vec<Culprit>,
    /// Where datagrams died or waited.
    pub place: Where,
    /// The first and the last bad packet.
    pub span: Span,
    /// Whether it went on when the capture ended.
    pub ongoing: bool,
    /// Transactions that failed by it.
    pub transactions: u64,
    /// Which harmed lookups it explains.
    pub claim: Claim,
    /// Mechanism and root cause, kept apart, in words.
    pub cause: Text,
    /// What was measured.
    pub facts: Vec<Fact>,
    /// The frames that prove it, the foremost first.
    pub evidence: Vec<Proof>,
    /// What to do next, the most useful first.
    pub actions: Vec<Action>,
    /// What it is not.
    pub ruled_out: Vec<RuledOut>,
}
