//! All that clients asked, in the order of names, each with what was answered: what rules look at
//! when the capture is over.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use super::answers::{Answer, Open};
use super::asked::{Asked, Order, Servers};
use super::at_once::AtOnce;
use super::harm::Harmed;
use super::kept::Kept;
use super::told::{FRAMES, Rows, Told};
use super::turns::{Absence, Turn, absences};
use super::zone::ClusterZones;
use crate::base::Span;
use crate::capture::Seen;
use crate::dns::{Name, RecordType};

/// One question and what every server answered to it.
#[derive(Debug)]
pub struct Inquiry {
    /// The name that was asked for.
    pub name: Name,
    /// The type that was asked for.
    pub rtype: RecordType,
    /// The answers.
    pub asked: Asked,
    /// Where the name lies.
    pub place: Place,
    /// Whether the autopath plugin answered: `host.example.com.<namespace>.svc.<zone>` has an alias
    /// to a name of another suffix or none. An ExternalName Service has no more than two labels
    /// there.
    pub is_autopath: bool,
}

/// Where a name lies, as far as clusters go: read off once, and asked by many rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// In a cluster's zone.
    pub in_cluster: bool,
    depth: Option<u8>,
    has_ordinal: bool,
}

impl Place {
    fn of(name: &Name, zones: &ClusterZones) -> Self {
        let parts = zones.split(name);
        Self {
            in_cluster: parts.is_some() || zones.is_cluster(name),
            depth: parts.and_then(|parts| u8::try_from(parts.depth()).ok()),
            has_ordinal: parts.is_some_and(|parts| parts.has_ordinal()),
        }
    }

    /// How many labels stand before `svc`, in a name of the form that a cluster's names have.
    pub fn depth(self) -> Option<usize> {
        self.depth.map(usize::from)
    }

    /// Whether it may be a Service: `<service>.<namespace>.svc.<zone>`.
    pub fn is_service(self) -> bool {
        self.depth == Some(2)
    }

    /// Whether it may be a pod of a StatefulSet: `etcd-0.<service>.<namespace>.svc.<zone>`.
    pub fn is_stateful_pod(self) -> bool {
        self.depth == Some(3) && self.has_ordinal
    }
}

/// Everything that clients asked.
#[derive(Debug, Default)]
pub struct Inquiries {
    /// The cluster's zones.
    pub zones: ClusterZones,
    all: Vec<Inquiry>,
    lookups: Kept,
    pub(super) at_once: AtOnce,
}

impl Inquiries {
    pub(super) fn new(
        mut questions: Vec<Option<Open>>,
        rows: &Rows,
        servers: &Servers,
        zones: ClusterZones,
        (lookups, at_once): (Kept, AtOnce),
    ) -> Self {
        let order = Order::of(servers);
        let mut all: Vec<Inquiry> = Vec::with_capacity(questions.len());
        for place in sorted(&questions) {
            let Some(open) = questions[place].take() else { continue };
            let (name, rtype, asked) = order.close(open, rows);
            // A and AAAA of one name stand side by side.
            let before = all.last().filter(|before| before.name == name);
            let place = before.map_or_else(|| Place::of(&name, &zones), |before| before.place);
            let is_autopath = place.depth().is_some_and(|depth| depth >= 3)
                && asked.alias().is_some_and(|to| !zones.is_cluster(to));
            all.push(Inquiry { name, rtype, asked, place, is_autopath });
        }
        Self { zones, all, lookups, at_once }
    }

    /// Every question, in the order of names and types.
    pub fn all(&self) -> &[Inquiry] {
        &self.all
    }

    /// What was answered to one question.
    pub fn asked(&self, name: &Name, rtype: RecordType) -> Option<&Asked> {
        let inquiries = self.of(name);
        inquiries.iter().find(|inquiry| inquiry.rtype == rtype).map(|inquiry| &inquiry.asked)
    }

    /// Who made the lookups that ended with what was told.
    pub fn clients(&self, told: &Told) -> impl Iterator<Item = IpAddr> {
        self.lookups.clients(told)
    }

    /// The lookups that ended with it, as wronged ones.
    pub fn wronged(&self, told: &Told) -> impl Iterator<Item = ((Seen, IpAddr), Harmed)> {
        self.lookups.wronged(told)
    }

    /// Every name whose addresses were asked for.
    pub fn names(&self) -> impl Iterator<Item = AskedName<'_>> {
        self.all.chunk_by(|one, other| one.name == other.name).filter_map(AskedName::new)
    }

    /// One of them.
    pub fn name(&self, name: &Name) -> Option<AskedName<'_>> {
        AskedName::new(self.of(name))
    }

    fn of(&self, name: &Name) -> &[Inquiry] {
        let from = self.all.partition_point(|inquiry| inquiry.name < *name);
        let rest = self.all.get(from..).unwrap_or_default();
        let count = rest.iter().take_while(|inquiry| inquiry.name == *name).count();
        rest.get(..count).unwrap_or_default()
    }
}

/// The places of these questions in the order of names and types.
fn sorted(questions: &[Option<Open>]) -> impl Iterator<Item = usize> + use<> {
    let known = (0..).zip(questions).filter_map(|(place, open)| Some((place, open.as_ref()?)));
    let mut ranked: Vec<((u128, u128), u32)> = Vec::with_capacity(questions.len());
    let mut before: Option<(&Name, (u128, u128))> = None;
    for (place, Open { name, .. }) in known {
        // Whoever asks for A and AAAA asks for them one after the other.
        let same = before.filter(|(known, _)| *known == name);
        let rank = same.map_or_else(|| name.rank().into(), |(_, rank)| rank);
        before = Some((name, rank));
        ranked.push((rank, place));
    }
    ranked.sort_unstable_by_key(|(rank, _)| *rank);
    // Only what is left of the names where they rank alike has to be looked at: mostly those of
    // A and AAAA.
    let key = |place: u32| questions[place as usize].as_ref().map(|open| (&open.name, open.rtype));
    for alike in ranked.chunk_by_mut(|(one, _), (other, _)| one == other) {
        alike.sort_unstable_by(|(_, one), (_, other)| key(*one).cmp(&key(*other)));
    }
    ranked.into_iter().map(|(_, place)| place as usize)
}

/// A name whose addresses were asked for.
#[derive(Debug, Clone, Copy)]
pub struct AskedName<'a> {
    /// The name, in the case of one of its questions.
    pub name: &'a Name,
    /// Where it lies.
    pub place: Place,
    inquiries: &'a [Inquiry],
}

impl<'a> AskedName<'a> {
    /// The name of these inquiries, if one of them is for addresses.
    fn new(inquiries: &'a [Inquiry]) -> Option<Self> {
        let first = inquiries.iter().find(|inquiry| is_address(inquiry.rtype))?;
        Some(Self { name: &first.name, place: first.place, inquiries })
    }

    fn asked(self) -> impl Iterator<Item = &'a Asked> {
        let inquiries = self.inquiries.iter().filter(|inquiry| is_address(inquiry.rtype));
        inquiries.map(|inquiry| &inquiry.asked)
    }

    /// Whether anybody ever got an address for it.
    pub fn resolves(self) -> bool {
        self.asked().any(|asked| asked.told.keys().any(|(_, answer)| answer.is_data()))
    }

    /// Whether a lookup ended with the answer that there is no such name.
    pub fn is_denied(self) -> bool {
        let denied = |asked: &Asked| {
            asked.told.iter().any(|((_, said), told)| *said == Answer::NoName && told.ended() > 0)
        };
        self.asked().any(denied)
    }

    /// From when to when each server gave which kind of answer, of both types.
    pub fn turns(self) -> Vec<Turn> {
        let mut turns: Vec<Turn> = self.asked().flat_map(Asked::turns).collect();
        turns.sort_by_key(|turn| turn.span.start);
        turns
    }

    /// When it was gone, if it has addresses at another time and the change took no longer than `lag` to
    /// reach every server.
    ///
    /// A denial that lasts until somebody has addresses and beyond may be a cached one, and one of two
    /// times, or of a short one, may be the answer of one of several servers.
    pub fn absence(self, lag: Duration) -> Option<Absence> {
        let data = self.known().data.span?;
        let absences = absences(&self.turns(), lag)?;
        let [absence] = absences.as_slice() else { return None };
        let cached = !absence.before && data.start < absence.span.end;
        (absence.span.length() > lag && !cached).then_some(*absence)
    }

    /// What is known of it, whatever the type and the server.
    pub fn known(self) -> Known {
        let mut known = Known::default();
        self.asked().for_each(|asked| known.add(asked));
        known
    }
}

fn is_address(rtype: RecordType) -> bool {
    matches!(rtype, RecordType::A | RecordType::AAAA)
}

/// What is known of a name from its A and AAAA answers.
#[derive(Debug, Default)]
pub struct Known {
    /// Answers with addresses.
    pub data: Tally,
    /// NXDOMAIN answers.
    pub missing: Tally,
    /// Answers without a record of the type.
    pub empty: Tally,
    /// The most addresses that one answer held.
    pub widest: usize,
    /// The address that clients asked.
    pub service: Option<IpAddr>,
}

/// Answers of one kind.
#[derive(Debug, Default)]
pub struct Tally {
    /// How many.
    pub times: u64,
    /// Lookups that ended with one.
    pub ended: u64,
    /// From the first to the last.
    pub span: Option<Span>,
    /// Who gave them.
    pub servers: BTreeSet<IpAddr>,
    /// The first few.
    pub frames: Vec<Seen>,
    /// See [`Told::longest_ttl`].
    pub longest_ttl: Duration,
}

impl Known {
    fn add(&mut self, asked: &Asked) {
        let ended: [u64; 3] = [&self.data, &self.missing, &self.empty].map(|tally| tally.ended);
        let mut also = [0; 3];
        for ((server, answer), told) in asked.told.iter() {
            let (at, tally) = match answer {
                Answer::Data(_) => (0, &mut self.data),
                Answer::NoName => (1, &mut self.missing),
                Answer::NoData => (2, &mut self.empty),
                Answer::Error(_) => continue,
            };
            tally.add(*server, told);
            also[at] += told.ended();
            self.widest = self.widest.max(asked.addresses(*answer).len());
        }
        // A lookup asks for both families: it is one lookup all the same.
        for ((tally, before), now) in
            [&mut self.data, &mut self.missing, &mut self.empty].into_iter().zip(ended).zip(also)
        {
            tally.ended = before.max(now);
        }
        self.service = self.service.or(Some(asked.service));
    }
}

impl Tally {
    /// Adds the answers of one server.
    pub fn add(&mut self, server: IpAddr, told: &Told) {
        self.times += told.times();
        self.ended += told.ended();
        self.span = Some(self.span.map_or(told.span, |span| span.join(told.span)));
        self.servers.insert(server);
        self.frames.extend(told.frames());
        self.frames.sort_unstable();
        self.frames.truncate(FRAMES);
        self.longest_ttl = self.longest_ttl.max(told.longest_ttl());
    }

    /// Adds another tally.
    pub fn join(&mut self, other: &Self) {
        self.times += other.times;
        self.ended += other.ended;
        self.span = match (self.span, other.span) {
            (Some(one), Some(two)) => Some(one.join(two)),
            (one, two) => one.or(two),
        };
        self.servers.extend(other.servers.iter().copied());
        self.frames.extend(other.frames.iter().copied());
        self.frames.sort_unstable();
        self.frames.truncate(FRAMES);
        self.longest_ttl = self.longest_ttl.max(other.longest_ttl);
    }
}
