//! What every server answered to one question, once all is told.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::answers::{Answer, Beside, Open};
use super::told::{Rows, Told};
use super::turns::Turn;
use crate::base::Addresses;
use crate::dns::{Name, RecordType, Records};

/// A server that answered, by number: in two bytes, for every answer names one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ServerId(u16);

/// The servers that answered, as many as there are numbers for.
#[derive(Debug, Default)]
pub(super) struct Servers(Addresses);

impl Servers {
    /// The number of a server; `None` if it is new and there is none left.
    pub(super) fn id(&mut self, server: IpAddr) -> Option<ServerId> {
        let known = self.0.get(server).or_else(|| {
            let room = u16::try_from(self.0.len()).is_ok();
            room.then(|| self.0.id(server))
        });
        u16::try_from(known?.place()).ok().map(ServerId)
    }

    /// All of them in their order, and the place of each number there.
    fn sorted(&self) -> (Arc<[IpAddr]>, Vec<ServerId>) {
        let known = self.0.known();
        let mut sorted: Vec<(IpAddr, usize)> = known.iter().copied().zip(0..).collect();
        sorted.sort_unstable();
        let mut places = vec![ServerId(0); sorted.len()];
        for (place, (_, number)) in (0..=u16::MAX).map(ServerId).zip(&sorted) {
            places[*number] = place;
        }
        (sorted.into_iter().map(|(address, _)| address).collect(), places)
    }
}

/// What every server answered to one question.
#[derive(Debug)]
pub struct Asked {
    /// By server and answer.
    pub told: ToldBy,
    /// The address that clients asked.
    pub service: IpAddr,
    beside: Option<Box<Beside>>,
    /// None where all answers are of one kind.
    turns: Box<[Turn]>,
}

/// Answers in the order of who gave them and of what they say: the backend where it is known, else the
/// address asked.
#[derive(Debug)]
pub struct ToldBy {
    rows: Vec<Told>,
    servers: Arc<[IpAddr]>,
}

/// Orders the answers to questions.
pub(super) struct Order {
    servers: Arc<[IpAddr]>,
    places: Vec<ServerId>,
}

impl Order {
    /// By these servers.
    pub(super) fn of(servers: &Servers) -> Self {
        let (servers, places) = servers.sorted();
        Self { servers, places }
    }

    /// All that was told, in order.
    pub(super) fn close(&self, open: Open, rows: &Rows) -> (Name, RecordType, Asked) {
        let Open { name, rtype, told, service, mut beside, .. } = open;
        let mut rows = rows.told(told);
        for told in &mut rows {
            told.server = self.place(told.server);
        }
        rows.sort_unstable_by_key(|told| (told.server, told.answer));
        let address = |id| self.servers.get(usize::from(self.place(id).0)).copied();
        let turns = beside.as_mut().and_then(|beside| beside.turns.take());
        let turns = turns.map_or_else(Box::default, |turns| turns.close(address));
        let service = address(service).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let told = ToldBy { rows, servers: Arc::clone(&self.servers) };
        (name, rtype, Asked { told, service, beside, turns })
    }

    fn place(&self, server: ServerId) -> ServerId {
        self.places.get(usize::from(server.0)).copied().unwrap_or(server)
    }
}

impl ToldBy {
    /// What this server said with this answer.
    pub fn get(&self, (server, answer): &(IpAddr, Answer)) -> Option<&Told> {
        self.by(*server).find(|told| told.answer == *answer)
    }

    /// Everything, in order.
    pub fn iter(&self) -> impl Iterator<Item = ((&IpAddr, &Answer), &Told)> {
        self.rows.iter().filter_map(|told| {
            let server = self.servers.get(usize::from(told.server.0))?;
            Some(((server, &told.answer), told))
        })
    }

    /// Who said what, in order.
    pub fn keys(&self) -> impl Iterator<Item = (&IpAddr, &Answer)> {
        self.iter().map(|(key, _)| key)
    }

    fn by(&self, server: IpAddr) -> impl Iterator<Item = &Told> {
        let place = self.servers.binary_search(&server).ok();
        self.rows.iter().filter(move |told| Some(usize::from(told.server.0)) == place)
    }
}

impl Asked {
    /// How often it was answered.
    pub fn times(&self) -> u64 {
        self.told.rows.iter().map(Told::times).sum()
    }

    /// The answers of one server.
    pub fn by(&self, server: IpAddr) -> impl Iterator<Item = (Answer, &Told)> {
        self.told.by(server).map(|told| (told.answer, told))
    }

    /// The servers that answered it.
    pub fn servers(&self) -> BTreeSet<IpAddr> {
        self.told.keys().map(|(server, _)| *server).collect()
    }

    /// From when to when each server gave which kind of answer, in the order in which that began.
    pub fn turns(&self) -> Vec<Turn> {
        if !self.turns.is_empty() {
            return self.turns.to_vec();
        }
        let mut turns: Vec<Turn> =
            self.told.iter().map(|((server, _), told)| Turn::of(*server, told)).collect();
        turns.sort_by_key(|turn| turn.span.start);
        turns
    }

    /// Whether two answers are sets of addresses that share none.
    pub fn disjoint(&self, one: Answer, other: Answer) -> bool {
        // A list that was cut short may share what was left out.
        let whole = |set: &[IpAddr]| (1..Records::MAX_ADDRESSES).contains(&set.len());
        let (one, other) = (self.addresses(one), self.addresses(other));
        whole(one) && whole(other) && !one.iter().any(|address| other.contains(address))
    }

    /// The addresses of an answer.
    pub fn addresses(&self, answer: Answer) -> &[IpAddr] {
        match (answer, &self.beside) {
            (Answer::Data(digest), Some(beside)) => {
                beside.sets.get(&digest).map_or(&[], AsRef::as_ref)
            }
            _ => &[],
        }
    }

    /// Where the alias in its answers leads, if they have one.
    pub fn alias(&self) -> Option<&Name> {
        self.beside.as_ref()?.alias.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_stand_in_the_order_of_their_addresses() {
        let mut servers = Servers::default();
        let ids = ["10.0.0.9", "fd00::1", "10.0.0.3", "10.0.0.9"]
            .map(|text| servers.id(text.parse().unwrap()).unwrap());
        let (sorted, places) = servers.sorted();
        let told = ids.map(|id| sorted[usize::from(places[usize::from(id.0)].0)].to_string());
        assert_eq!(told, ["10.0.0.9", "fd00::1", "10.0.0.3", "10.0.0.9"]);
        assert!(sorted.is_sorted());
    }
}
