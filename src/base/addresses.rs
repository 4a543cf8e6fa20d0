//! Addresses by number, for tables that name a few of them very often.

use std::net::{IpAddr, Ipv4Addr};

use super::{Host, Map};

/// The number of an address in one [`Addresses`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressId(u32);

impl AddressId {
    /// Where it stands among [`Addresses::known`].
    pub fn place(self) -> usize {
        self.0 as usize
    }
}

/// Addresses, each kept once. Bounded by whoever decides which ones come here.
#[derive(Debug, Clone, Default)]
pub struct Addresses {
    ids: Map<Host, AddressId>,
    known: Vec<IpAddr>,
}

impl Addresses {
    /// The number of `address`, given out when it first comes.
    pub fn id(&mut self, address: IpAddr) -> AddressId {
        let next = AddressId(u32::try_from(self.known.len()).unwrap_or(u32::MAX));
        *self.ids.entry(Host(address)).or_insert_with(|| {
            self.known.push(address);
            next
        })
    }

    /// The number of `address`, if it came before.
    pub fn get(&self, address: IpAddr) -> Option<AddressId> {
        self.ids.get(&Host(address)).copied()
    }

    /// All addresses, in the order of their numbers.
    pub fn known(&self) -> &[IpAddr] {
        &self.known
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// The address with this number.
    pub fn address(&self, id: AddressId) -> IpAddr {
        let unspecified = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        self.known.get(id.0 as usize).copied().unwrap_or(unspecified)
    }
}

/// A row for each of some addresses, by their numbers.
#[derive(Debug, Clone)]
pub struct Rows<V>(Vec<V>);

impl<V> Default for Rows<V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<V: Default> Rows<V> {
    /// The row of an address.
    pub fn row(&mut self, id: AddressId) -> &mut V {
        let place = id.0 as usize;
        if place >= self.0.len() {
            self.0.resize_with(place + 1, V::default);
        }
        &mut self.0[place]
    }

    /// The row of an address, if there is one.
    pub fn get(&self, id: AddressId) -> Option<&V> {
        self.0.get(id.0 as usize)
    }

    /// The rows of all `addresses` that have one, in the order of their numbers.
    pub fn into_known(self, addresses: &Addresses) -> impl Iterator<Item = (IpAddr, V)> {
        addresses.known.iter().copied().zip(self.0)
    }

    /// The rows of all `addresses` that have one, in the order of the addresses.
    pub fn sorted(&self, addresses: &Addresses) -> Vec<(IpAddr, &V)> {
        let mut rows: Vec<(IpAddr, &V)> =
            addresses.known.iter().copied().zip(self.0.iter()).collect();
        rows.sort_unstable_by_key(|(address, _)| *address);
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_keeps_its_number() {
        let mut addresses = Addresses::default();
        let [one, two] = ["10.0.0.1", "fd00::1"].map(|text| text.parse().unwrap());
        let ids = [addresses.id(one), addresses.id(two), addresses.id(one)];
        assert_eq!(ids[0], ids[2]);
        assert_eq!(ids.map(|id| addresses.address(id)), [one, two, one]);
        assert_eq!(
            (addresses.get(two), addresses.get("10.0.0.2".parse().unwrap())),
            (Some(ids[1]), None)
        );
        let mut rows: Rows<u32> = Rows::default();
        *rows.row(ids[1]) += 7;
        assert_eq!(rows.sorted(&addresses), [(one, &0), (two, &7)]);
    }
}
