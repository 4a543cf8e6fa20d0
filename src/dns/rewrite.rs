//! A message with other names and addresses in it.

use std::net::IpAddr;

use hickory_proto::op::Message;
use hickory_proto::rr::rdata::{A, AAAA, MX, SOA, SRV, TXT, name};
use hickory_proto::rr::{self, RData, Record};

use super::Name;

/// Who says what stands for a name and for an address.
pub trait Rewrite {
    /// The name to be written for `name`.
    fn name(&mut self, name: &Name) -> Name;
    /// The address to be written for `address`, of the same family.
    fn address(&mut self, address: IpAddr) -> IpAddr;
}

/// The same message with all names and addresses rewritten. What may hold
/// either in a form of its own is left out: the data of text, EDNS options, and records of other types.
///
/// `None` for what is no whole, well-formed message, and for what cannot be written again.
pub fn rewrite(payload: &[u8], by: &mut impl Rewrite) -> Option<Vec<u8>> {
    let mut message = Message::from_vec(payload).ok()?;
    for query in &mut message.queries {
        let name = renamed(query.name(), by).ok()?;
        query.set_name(name);
    }
    for section in [&mut message.answers, &mut message.authorities, &mut message.additionals] {
        let records = std::mem::take(section).into_iter();
        let records = records.map(|record| rewritten(record, by)).filter_map(Result::transpose);
        *section = records.collect::<Result<_, _>>().ok()?;
    }
    message.signature = None;
    if let Some(edns) = &mut message.edns {
        edns.options_mut().options.clear();
    }
    message.to_vec().ok()
}

/// The record with others' names in it; `Ok(None)` if its data has to be left out.
fn rewritten(mut record: Record, by: &mut impl Rewrite) -> Result<Option<Record>, Unwritable> {
    record.name = renamed(&record.name, by)?;
    record.data = match &record.data {
        RData::A(address) => match by.address(IpAddr::V4(address.0)) {
            IpAddr::V4(address) => RData::A(A(address)),
            IpAddr::V6(_) => return Err(Unwritable),
        },
        RData::AAAA(address) => match by.address(IpAddr::V6(address.0)) {
            IpAddr::V6(address) => RData::AAAA(AAAA(address)),
            IpAddr::V4(_) => return Err(Unwritable),
        },
        RData::CNAME(target) => RData::CNAME(name::CNAME(renamed(&target.0, by)?)),
        RData::NS(server) => RData::NS(name::NS(renamed(&server.0, by)?)),
        RData::PTR(target) => RData::PTR(name::PTR(renamed(&target.0, by)?)),
        RData::MX(mx) => RData::MX(MX::new(mx.preference, renamed(&mx.exchange, by)?)),
        RData::SRV(srv) => {
            let target = renamed(&srv.target, by)?;
            RData::SRV(SRV::new(srv.priority, srv.weight, srv.port, target))
        }
        RData::SOA(soa) => RData::SOA(SOA::new(
            renamed(&soa.mname, by)?,
            renamed(&soa.rname, by)?,
            soa.serial,
            soa.refresh,
            soa.retry,
            soa.expire,
            soa.minimum,
        )),
        RData::TXT(_) => RData::TXT(TXT::new(vec![String::new()])),
        _ => return Ok(None),
    };
    Ok(Some(record))
}

/// A name or address that the message cannot hold.
struct Unwritable;

fn renamed(name: &rr::Name, by: &mut impl Rewrite) -> Result<rr::Name, Unwritable> {
    let renamed = by.name(&Name::from_labels(name.iter()).ok_or(Unwritable)?);
    let mut written = rr::Name::from_labels(renamed.labels()).map_err(|_| Unwritable)?;
    written.set_fqdn(true);
    Ok(written)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::dns::describe;

    /// Calls everything by another name, of the same length and longer.
    struct Other;

    impl Rewrite for Other {
        fn name(&mut self, name: &Name) -> Name {
            let labels: Vec<Vec<u8>> = name.labels().map(|label| [b"x", label].concat()).collect();
            Name::from_labels(labels.iter().map(Vec::as_slice)).unwrap()
        }

        fn address(&mut self, _: IpAddr) -> IpAddr {
            IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7))
        }
    }

    /// `a.bc A` is an alias of `d.bc`, which has an address; and a text.
    const ANSWER: &[u8] = b"\0\x01\x81\x80\0\x01\0\x03\0\0\0\0\x01a\x02bc\0\0\x01\0\x01\
        \xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x04\x01d\xc0\x0e\
        \xc0\x22\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x01\
        \xc0\x22\0\x10\0\x01\0\0\0\x3c\0\x07\x06secret";

    #[test]
    fn names_and_addresses_are_others_wherever_they_stand() {
        let written = rewrite(ANSWER, &mut Other).unwrap();
        let lines = describe(&written).unwrap();
        assert_eq!(lines[0], "xa.xbc. 60 IN CNAME xd.xbc.");
        assert_eq!(lines[1], "xd.xbc. 60 IN A 198.51.100.7");
        assert!(!written.windows(6).any(|bytes| bytes == b"secret"), "{lines:?}");
        assert_eq!(&written[..2], &ANSWER[..2], "the id stays");
    }

    #[test]
    fn what_is_cut_is_not_guessed_at() {
        for length in 0..ANSWER.len() {
            assert_eq!(rewrite(&ANSWER[..length], &mut Other), None, "{length}");
        }
    }
}
