//! Addresses by number, for tables that name a few of them very often.

use std::net::{IpAddr, Ipv4Addr};

use super::{Host, Map};

/// The number of an address in one [`Addresses`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressId(u32);

/// Addresses, each kept once. Bounded by whoever decides which ones come here.
#[derive(Debug, Default)]
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

    /// The address with this number.
    pub fn address(&self, id: AddressId) -> IpAddr {
        let unspecified = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        self.known.get(id.0 as usize).copied().unwrap_or(unspecified)
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
    }
}
