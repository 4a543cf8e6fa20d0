//! The tolerant parser: one pass over the wire bytes (RFC 1035 section 4.1).
//!
//! It never refuses a message with a header. What stands before the first damage is kept, and
//! [`Message::stop`] names the damage. Names are allocated only when they are new to the cache.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use smallvec::SmallVec;

use super::wire::{Expanded, expand, name_at, u32_at};
use super::{
    Edns, Header, Malformed, Message, Name, NameCache, Question, RecordType, Records, Soa,
};
use crate::base::digest;

/// Aliases of one answer that are followed: resolvers give up earlier (BIND and Unbound at 11
/// and 12).
const MAX_ALIASES: usize = 16;

/// The least length of SOA data: two root names and five numbers (RFC 1035 section 3.3.13).
const SOA_LEAST: usize = 22;

const CLASS_IN: u16 = 1;

/// The message that `payload` holds; `None` if it is shorter than a header.
///
/// `wire_len` is the message's length on the wire, more than `payload.len()` where the capture
/// cut it. On a DNS port everything with a header counts as a message, as it does for Wireshark;
/// [`Message::is_plausible`] tells which of them are worth following.
pub fn parse(payload: &[u8], wire_len: usize, names: &mut NameCache) -> Option<Message> {
    parse_after(None, payload, wire_len, names)
}

/// The same, faster where it asks for the same as another message: a response repeats the question of
/// its query.
pub(super) fn parse_after(
    other: Option<&Message>,
    payload: &[u8],
    wire_len: usize,
    names: &mut NameCache,
) -> Option<Message> {
    let header = Header::read(payload)?;
    let asked = other.and_then(|other| other.question.as_ref());
    let mut reader = Reader::new(payload, wire_len, asked, names);
    let stop = reader.sections(header).err();
    Some(reader.message(header, stop, digest(payload)))
}

/// Whether `bytes` are one plausible message that can be read to its end, which is theirs too.
pub fn is_whole_message(bytes: &[u8]) -> bool {
    let Some(header) = Header::read(bytes) else { return false };
    let mut names = NameCache::of(1);
    let mut reader = Reader::new(bytes, bytes.len(), None, &mut names);
    reader.sections(header).is_ok()
        && reader.at == bytes.len()
        && reader.message(header, None, 0).is_plausible()
}

struct Reader<'a> {
    bytes: &'a [u8],
    wire_len: usize,
    at: usize,
    cut: bool,
    names: &'a mut NameCache,
    /// What is probably asked.
    asked: Option<&'a Question>,
    question: Option<Question>,
    records: Records,
    edns: Option<Edns>,
}

/// The fixed part of a record, and its data as far as it was captured.
struct Record<'a> {
    owner: usize,
    rtype: RecordType,
    class: u16,
    ttl: u32,
    data_at: usize,
    data: &'a [u8],
    whole: bool,
}

impl<'a> Reader<'a> {
    /// One that stands behind the header.
    #[inline]
    fn new(
        bytes: &'a [u8],
        wire_len: usize,
        asked: Option<&'a Question>,
        names: &'a mut NameCache,
    ) -> Self {
        Self {
            bytes,
            wire_len,
            at: Header::LEN,
            cut: bytes.len() < wire_len,
            names,
            asked,
            question: None,
            records: Records::default(),
            edns: None,
        }
    }

    /// The message as far as it was read, and why no further.
    #[inline]
    fn message(&mut self, header: Header, stop: Option<Malformed>, digest: u64) -> Message {
        Message {
            header,
            question: self.question.take(),
            records: self.names.records(&mut self.records),
            edns: self.edns,
            stop: stop.map(|why| match why {
                Malformed::Short if self.cut => Malformed::Cut,
                other => other,
            }),
            wire_len: self.wire_len.max(self.bytes.len()),
            digest,
        }
    }

    fn sections(&mut self, header: Header) -> Result<(), Malformed> {
        for n in 0..header.questions {
            self.question(n == 0)?;
        }
        if header.answers > 0 {
            let mut aliases = SmallVec::new();
            let answers = self.answers(header.answers, &mut aliases);
            self.follow(&aliases);
            answers?;
        }
        for _ in 0..header.authorities {
            let record = self.record()?;
            self.authority(&record)?;
            record.check(self.cut)?;
        }
        for _ in 0..header.additionals {
            let record = self.record()?;
            self.additional(&record)?;
            record.check(self.cut)?;
        }
        Ok(())
    }

    fn question(&mut self, first: bool) -> Result<(), Malformed> {
        if first && let Some((question, end)) = self.repeated() {
            (self.question, self.at) = (Some(question), end);
            return Ok(());
        }
        let mut room = None;
        let (wire, end) = name_at(self.bytes, self.at, &mut room)?;
        let (rtype, class) = type_and_class(self.bytes, end).ok_or(Malformed::Short)?;
        self.at = end + 4;
        if first {
            let name = self.names.name(wire).ok_or(Malformed::BadName)?;
            self.question = Some(Question { name, rtype, class });
        }
        Ok(())
    }

    /// The question here and its end, if it is the one that is probably asked. A name is well formed, so
    /// that bytes which are its own would be read as nothing else.
    #[inline]
    fn repeated(&self) -> Option<(Question, usize)> {
        let asked = self.asked?;
        let wire = asked.name.wire();
        let end = self.at + wire.len();
        let same = self.bytes.get(self.at..end)? == wire
            && type_and_class(self.bytes, end)? == (asked.rtype, asked.class);
        same.then(|| (asked.clone(), end + 4))
    }

    /// Reads a record's fixed part and steps behind it (RFC 1035 section 4.1.3).
    fn record(&mut self) -> Result<Record<'a>, Malformed> {
        let owner = self.at;
        let fixed = match (self.bytes.get(owner), self.bytes.get(owner + 1)) {
            // By far the most owners are a pointer to the question's name, which was read.
            (Some(0xc0), Some(0x0c)) if self.question.is_some() => owner + 2,
            _ => name_at(self.bytes, owner, &mut None)?.1,
        };
        let rest = self.bytes.get(fixed..).ok_or(Malformed::Short)?;
        let &[y0, y1, c0, c1, t0, t1, t2, t3, l0, l1] =
            rest.first_chunk::<10>().ok_or(Malformed::Short)?;
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        let data_at = fixed + 10;
        let rest = self.bytes.get(data_at..).unwrap_or_default();
        let data = rest.get(..length);
        self.at = data_at + length;
        Ok(Record {
            owner,
            rtype: RecordType(u16::from_be_bytes([y0, y1])),
            class: u16::from_be_bytes([c0, c1]),
            ttl: u32::from_be_bytes([t0, t1, t2, t3]),
            data_at,
            data: data.unwrap_or(rest),
            whole: data.is_some(),
        })
    }

    fn answers(
        &mut self,
        count: u16,
        aliases: &mut SmallVec<[(usize, usize); 4]>,
    ) -> Result<(), Malformed> {
        let asked = self.question.as_ref().map(|question| question.rtype);
        for _ in 0..count {
            let record = self.record()?;
            // RFC 2181 section 8: a TTL with its highest bit set counts as zero.
            let ttl = if record.ttl >> 31 == 0 { record.ttl } else { 0 };
            let least = self.records.min_ttl.map_or(ttl, |least| least.min(ttl));
            self.records.min_ttl = Some(least);
            if asked.is_some_and(|asked| asked == record.rtype || asked == RecordType::ANY) {
                self.records.matching = self.records.matching.saturating_add(1);
            }
            record.check(self.cut)?;
            match record.rtype {
                RecordType::A | RecordType::AAAA => self.address(&record)?,
                RecordType::CNAME if aliases.len() < MAX_ALIASES => {
                    aliases.push((record.owner, record.data_at));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn address(&mut self, record: &Record<'_>) -> Result<(), Malformed> {
        if record.class != CLASS_IN {
            // Chaosnet addresses are something else, and updates carry empty data.
            return Ok(());
        }
        let address = match record.rtype {
            RecordType::A => <[u8; 4]>::try_from(record.data)
                .ok()
                .map(|octets| IpAddr::V4(Ipv4Addr::from(octets))),
            _ => <[u8; 16]>::try_from(record.data)
                .ok()
                .map(|octets| IpAddr::V6(Ipv6Addr::from(octets))),
        };
        let records = &mut self.records;
        let address = address.ok_or(Malformed::BadRecord)?;
        records.address_count = records.address_count.saturating_add(1);
        // A sum, so that the order of the addresses does not matter.
        records.address_digest = records.address_digest.wrapping_add(digest(record.data));
        if records.addresses.len() < Records::MAX_ADDRESSES {
            records.addresses.push(address);
        }
        Ok(())
    }

    /// Follows the aliases from the name asked for, in whatever order they stand.
    fn follow(&mut self, aliases: &[(usize, usize)]) {
        let Some(question) = &self.question else {
            return;
        };
        if aliases.is_empty() {
            return;
        }
        let (mut owner, mut target) = (Expanded::new(), Expanded::new());
        let mut current: Option<Name> = None;
        for _ in aliases {
            let name = current.as_ref().unwrap_or(&question.name);
            let step = aliases.iter().find(|(at, _)| {
                expand(self.bytes, *at, &mut owner).is_ok() && owner.is(name.wire())
            });
            let Some(&(_, at)) = step else {
                break;
            };
            if expand(self.bytes, at, &mut target).is_err() {
                break;
            }
            current = self.names.name(target.wire());
        }
        self.records.canonical = current;
    }

    fn authority(&mut self, record: &Record<'_>) -> Result<(), Malformed> {
        if record.rtype != RecordType::SOA || self.records.soa.is_some() {
            return Ok(());
        }
        let mut room = None;
        let (owner, _) = name_at(self.bytes, record.owner, &mut room)?;
        let minimum = record
            .data
            .len()
            .checked_sub(4)
            .filter(|_| record.whole && record.data.len() >= SOA_LEAST)
            .and_then(|at| u32_at(record.data, at));
        self.records.soa =
            self.names.name(owner).map(|owner| Soa { owner, ttl: record.ttl, minimum });
        Ok(())
    }

    fn additional(&mut self, record: &Record<'_>) -> Result<(), Malformed> {
        if record.rtype != RecordType::OPT || self.edns.is_some() {
            return Ok(());
        }
        let (edns, whole) = Edns::read(record.class, record.ttl, record.data);
        self.edns = Some(edns);
        if whole || !record.whole { Ok(()) } else { Err(Malformed::BadRecord) }
    }
}

/// The two fields behind the name of a question.
#[inline]
fn type_and_class(bytes: &[u8], at: usize) -> Option<(RecordType, u16)> {
    let &[y0, y1, c0, c1] = bytes.get(at..)?.first_chunk()?;
    Some((RecordType(u16::from_be_bytes([y0, y1])), u16::from_be_bytes([c0, c1])))
}

impl Record<'_> {
    /// Fails if the data runs past the message or the capture.
    fn check(&self, cut: bool) -> Result<(), Malformed> {
        match (self.whole, cut) {
            (true, _) => Ok(()),
            (false, true) => Err(Malformed::Cut),
            (false, false) => Err(Malformed::BadRecord),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::AnswerKind;
    use super::*;

    /// Header, the question `www.example` of type `rtype`, and `rest`.
    fn message(flags: u16, rtype: u16, counts: [u16; 3], rest: &[&[u8]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for field in [0x1a2b, flags, 1, counts[0], counts[1], counts[2]] {
            bytes.extend_from_slice(&field.to_be_bytes());
        }
        bytes.extend_from_slice(b"\x03wWw\x07example\x00");
        bytes.extend_from_slice(&rtype.to_be_bytes());
        bytes.extend_from_slice(&[0, 1]);
        bytes.extend_from_slice(&rest.concat());
        bytes
    }

    fn record(owner: &[u8], rtype: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
        let mut bytes = owner.to_vec();
        bytes.extend_from_slice(&rtype.to_be_bytes());
        bytes.extend_from_slice(&[0, 1]);
        bytes.extend_from_slice(&ttl.to_be_bytes());
        bytes.extend_from_slice(&u16::try_from(data.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(data);
        bytes
    }

    fn read(bytes: &[u8]) -> Message {
        parse(bytes, bytes.len(), &mut NameCache::new()).unwrap()
    }

    const ASKED: &[u8] = b"\xc0\x0c";

    #[test]
    fn a_query_keeps_the_case_of_its_name() {
        let query = read(&message(0x0100, 28, [0; 3], &[]));
        let question = query.question.as_ref().unwrap();
        assert_eq!(question.name.to_string(), "wWw.example");
        assert_eq!((question.rtype, question.class), (RecordType::AAAA, 1));
        assert_eq!(query.stop, None);
        assert!(query.is_plausible() && query.header.recursion_desired());
    }

    #[test]
    fn aliases_are_followed_in_any_order() {
        let last = record(b"\x01b\x02zz\x00", 1, 30, &[192, 0, 2, 7]);
        let second = record(b"\x01A\x02zz\x00", 5, 60, b"\x01B\x02zz\x00");
        let first = record(ASKED, 5, 300, b"\x01a\x02zz\x00");
        let bytes = message(0x8180, 1, [3, 0, 0], &[&last, &second, &first]);
        let records = read(&bytes).records;
        assert_eq!(records.canonical.as_ref().unwrap().to_string(), "B.zz");
        assert_eq!(records.addresses.as_slice(), ["192.0.2.7".parse::<IpAddr>().unwrap()]);
        assert_eq!((records.matching, records.min_ttl), (1, Some(30)));
    }

    #[test]
    fn aliases_in_a_circle_end() {
        let there = record(ASKED, 5, 1, b"\x01a\x00");
        let back = record(b"\x01a\x00", 5, 1, b"\xc0\x0c");
        let answer = read(&message(0x8180, 1, [2, 0, 0], &[&there, &back]));
        assert_eq!(answer.stop, None);
        assert_eq!(answer.answer_kind(), AnswerKind::NoData);
    }

    #[test]
    fn the_order_of_addresses_does_not_change_their_digest() {
        let one = record(ASKED, 1, 5, &[192, 0, 2, 1]);
        let two = record(ASKED, 1, 5, &[192, 0, 2, 2]);
        let forth = read(&message(0x8180, 1, [2, 0, 0], &[&one, &two])).records;
        let back = read(&message(0x8180, 1, [2, 0, 0], &[&two, &one])).records;
        assert_eq!(forth.address_digest, back.address_digest);
        assert_ne!(forth.addresses, back.addresses);
        assert_ne!(forth.address_digest, 0);
    }

    #[test]
    fn more_addresses_than_are_kept_are_counted() {
        let records: Vec<Vec<u8>> = (0..40).map(|n| record(ASKED, 1, 5, &[10, 0, 0, n])).collect();
        let parts: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
        let records = read(&message(0x8180, 1, [40, 0, 0], &parts)).records;
        assert_eq!(records.addresses.len(), Records::MAX_ADDRESSES);
        assert_eq!((records.address_count, records.matching), (40, 40));
    }

    #[test]
    fn a_negative_answer_carries_its_zone() {
        let mut data = b"\x02ns\xc0\x10\x04root\xc0\x10".to_vec();
        for number in [1_u32, 7200, 900, 86400, 30] {
            data.extend_from_slice(&number.to_be_bytes());
        }
        let soa = record(b"\xc0\x10", 6, 900, &data);
        let answer = read(&message(0x8183, 1, [0, 1, 0], &[&soa]));
        let zone = answer.records.soa.clone().unwrap();
        assert_eq!((zone.owner.to_string().as_str(), zone.ttl), ("example", 900));
        assert_eq!(zone.minimum, Some(30));
        assert_eq!(answer.answer_kind(), AnswerKind::NxDomain);
    }

    #[test]
    fn edns_extends_the_rcode() {
        let opt = b"\0\0\x29\x04\xd0\x01\0\x80\0\0\0";
        let answer = read(&message(0x8180, 1, [0, 0, 1], &[opt]));
        let edns = answer.edns.unwrap();
        assert!(edns.dnssec_ok);
        assert_eq!(edns.udp_size, 1232);
        assert_eq!(answer.rcode().to_string(), "BADVERS");
    }

    #[test]
    fn a_snap_length_cut_is_no_fault_of_the_message() {
        let one = record(ASKED, 1, 5, &[192, 0, 2, 1]);
        let two = record(ASKED, 1, 9, &[192, 0, 2, 2]);
        let bytes = message(0x8180, 1, [2, 0, 0], &[&one, &two]);
        for captured in 12..bytes.len() {
            let cut = parse(&bytes[..captured], bytes.len(), &mut NameCache::new()).unwrap();
            assert_eq!(cut.stop, Some(Malformed::Cut), "at {captured}");
            assert_eq!(cut.question.is_some(), captured >= 29, "at {captured}");
            assert!(cut.is_plausible(), "at {captured}");
            assert_eq!(cut.wire_len, bytes.len());
        }
        assert!(parse(&bytes[..11], bytes.len(), &mut NameCache::new()).is_none());
    }

    #[test]
    fn counts_that_lie_keep_the_question() {
        let bytes = message(0x8180, 1, [65535, 65535, 65535], &[]);
        let answer = read(&bytes);
        assert_eq!(answer.stop, Some(Malformed::Short));
        assert!(answer.question.is_some() && !answer.is_plausible());
    }

    #[test]
    fn damage_behind_the_question_is_named() {
        let wrong = record(ASKED, 1, 5, &[192, 0, 2]);
        let answer = read(&message(0x8180, 1, [1, 0, 0], &[&wrong]));
        assert_eq!(answer.stop, Some(Malformed::BadRecord));
        assert!(answer.question.is_some() && answer.is_plausible());
        let forward = record(b"\xc0\xff", 1, 5, &[192, 0, 2, 1]);
        let answer = read(&message(0x8180, 1, [1, 0, 0], &[&forward]));
        assert_eq!(answer.stop, Some(Malformed::BadPointer));
        let mut past = record(ASKED, 1, 5, &[192, 0, 2, 1]);
        past[11] = 40;
        let answer = read(&message(0x8180, 1, [1, 0, 0], &[&past]));
        assert_eq!(answer.stop, Some(Malformed::BadRecord));
    }

    #[test]
    fn a_ttl_beyond_31_bits_counts_as_zero() {
        let huge = record(ASKED, 1, 0x8000_0000, &[192, 0, 2, 1]);
        let answer = read(&message(0x8180, 1, [1, 0, 0], &[&huge]));
        assert_eq!(answer.records.min_ttl, Some(0));
    }

    #[test]
    fn other_protocols_are_messages_but_not_plausible() {
        let http = read(b"GET / HTTP/1.1\r\nHost: example\r\n\r\n");
        assert!(!http.is_plausible());
        assert!(!read(&[0xff; 60]).is_plausible());
        assert!(!read(&[0; 60]).is_plausible());
    }
}
