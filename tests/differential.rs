//! Our tolerant parser against hickory-proto: wherever hickory accepts a message, both agree on
//! header, question, rcode and record counts; where it refuses, ours still has the header and,
//! if there is one to read, the question.

use dnswhy::dns::{Message, Name, NameCache, RecordType, parse};
use hickory_proto::op::{
    Edns, Header as TheirHeader, Message as Theirs, MessageType, OpCode, Query, ResponseCode,
};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, MX, SOA, TXT};
use hickory_proto::rr::{DNSClass, Name as TheirName, RData, Record};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};
use proptest::prelude::*;

fn ours(bytes: &[u8]) -> Option<Message> {
    parse(bytes, bytes.len(), &mut NameCache::new())
}

fn name_of(name: &TheirName) -> Name {
    Name::from_labels(name.iter()).expect("hickory holds the same limits")
}

/// What both views have of `bytes` that hickory does not read to their end.
fn refused(bytes: &[u8]) {
    let message = ours(bytes);
    assert_eq!(message.is_some(), bytes.len() >= 12);
    let Some(message) = message else {
        return;
    };
    let mut decoder = BinDecoder::new(bytes);
    let theirs = TheirHeader::read(&mut decoder).expect("twelve bytes");
    assert_eq!(message.header.id, theirs.metadata.id);
    assert_eq!(message.header.questions, theirs.counts.queries);
    if theirs.counts.queries > 0 {
        let query = Query::read(&mut decoder).ok();
        let name = query.map(|query| name_of(&query.name));
        let mine = message.question.map(|question| question.name);
        assert_eq!(mine.as_ref().map(Name::wire), name.as_ref().map(Name::wire));
    }
}

/// Compares both views of `bytes`.
fn compare(bytes: &[u8]) {
    let Ok(theirs) = Theirs::from_vec(bytes) else {
        refused(bytes);
        return;
    };
    let message = ours(bytes).expect("hickory read it");
    let header = message.header;
    assert_eq!(header.id, theirs.metadata.id);
    let response = theirs.metadata.message_type == MessageType::Response;
    assert_eq!(header.is_response(), response);
    assert_eq!(header.opcode().0, u8::from(theirs.metadata.op_code));
    assert_eq!(header.authoritative(), theirs.metadata.authoritative);
    assert_eq!(header.truncated(), theirs.metadata.truncation);
    assert_eq!(header.recursion_desired(), theirs.metadata.recursion_desired);
    assert_eq!(header.recursion_available(), theirs.metadata.recursion_available);
    assert_eq!(header.authentic_data(), theirs.metadata.authentic_data);
    assert_eq!(header.checking_disabled(), theirs.metadata.checking_disabled);
    assert_eq!(message.rcode().0, u16::from(theirs.metadata.response_code));
    assert_eq!(usize::from(header.questions), theirs.queries.len());
    assert_eq!(usize::from(header.answers), theirs.answers.len());
    assert_eq!(usize::from(header.authorities), theirs.authorities.len());
    let apart = usize::from(theirs.edns.is_some()) + usize::from(theirs.signature.is_some());
    assert_eq!(usize::from(header.additionals), theirs.additionals.len() + apart);
    assert_eq!(message.stop, None, "{theirs:?}");
    assert_eq!(message.question.is_some(), !theirs.queries.is_empty());
    if let (Some(question), Some(query)) = (&message.question, theirs.queries.first()) {
        assert!(question.name.same_case(&name_of(&query.name)));
        assert_eq!(question.rtype, RecordType(query.query_type.into()));
        // Hickory takes the highest bit of the class for mDNS's wish for a unicast answer.
        let class = u16::from(query.query_class);
        assert_eq!(question.class & 0x7fff, class & 0x7fff);
    }
    assert_eq!(message.edns.is_some(), theirs.edns.is_some());
    if let (Some(edns), Some(their)) = (&message.edns, &theirs.edns) {
        assert_eq!(edns.version, their.version());
        assert_eq!(edns.dnssec_ok, their.flags().dnssec_ok);
        assert_eq!(edns.udp_size.max(512), their.max_payload().max(512));
    }
    let addresses: Vec<_> = theirs
        .answers
        .iter()
        // Hickory reads an address of any class; only those of class IN are addresses.
        .filter(|record| record.dns_class == DNSClass::IN)
        .filter_map(|record| record.data.ip_addr())
        .collect();
    assert_eq!(usize::from(message.records.address_count), addresses.len());
    let kept = message.records.addresses.len();
    assert_eq!(message.records.addresses.as_slice(), &addresses[..kept]);
    let soa = theirs.authorities.iter().find_map(|record| match &record.data {
        RData::SOA(soa) => Some((name_of(&record.name), record.ttl, soa.minimum)),
        _ => None,
    });
    let mine = message.records.soa.as_ref().map(|soa| (soa.owner.clone(), soa.ttl, soa.minimum));
    assert_eq!(mine, soa.map(|(owner, ttl, minimum)| (owner, ttl, Some(minimum))));
}

fn label() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => prop::collection::vec(prop::sample::select(b"abcXYZ019-_".to_vec()), 1..8),
        1 => prop::collection::vec(any::<u8>(), 1..=63),
    ]
}

fn their_name() -> impl Strategy<Value = TheirName> {
    prop::collection::vec(label(), 0..4).prop_map(|labels| {
        let labels = labels.iter().map(Vec::as_slice);
        let mut name = TheirName::from_labels(labels).unwrap_or_else(|_| TheirName::root());
        name.set_fqdn(true);
        name
    })
}

fn rdata() -> impl Strategy<Value = RData> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(|octets| RData::A(A(octets.into()))),
        any::<[u8; 16]>().prop_map(|octets| RData::AAAA(AAAA(octets.into()))),
        their_name().prop_map(|name| RData::CNAME(CNAME(name))),
        (any::<u16>(), their_name()).prop_map(|(n, name)| RData::MX(MX::new(n, name))),
        "[ -~]{0,40}".prop_map(|text| RData::TXT(TXT::new(vec![text]))),
        (their_name(), their_name(), any::<u32>()).prop_map(|(m, r, minimum)| {
            RData::SOA(SOA::new(m, r, 1, 7200, 900, 86400, minimum))
        }),
    ]
}

fn records() -> impl Strategy<Value = Vec<Record>> {
    let record = (their_name(), 0..=0x7fff_ffff_u32, rdata());
    let record = record.prop_map(|(name, ttl, data)| Record::from_rdata(name, ttl, data));
    prop::collection::vec(record, 0..5)
}

prop_compose! {
    fn their_message()(
        id in any::<u16>(),
        response in any::<bool>(),
        bits in any::<[bool; 6]>(),
        rcode in 0..=23_u16,
        question in prop::option::weighted(0.9, (their_name(), any::<u16>())),
        answers in records(),
        authorities in records(),
        additionals in records(),
        edns in prop::option::of((512..=u16::MAX, any::<bool>())),
    ) -> Theirs {
        let kind = if response { MessageType::Response } else { MessageType::Query };
        let mut message = Theirs::new(id, kind, OpCode::Query);
        let metadata = &mut message.metadata;
        metadata.authoritative = bits[0];
        metadata.truncation = bits[1];
        metadata.recursion_desired = bits[2];
        metadata.recursion_available = bits[3];
        metadata.authentic_data = bits[4];
        metadata.checking_disabled = bits[5];
        let rcode = if edns.is_some() { rcode } else { rcode & 0x0f };
        let (high, low) = (u8::try_from(rcode >> 4), u8::try_from(rcode & 0x0f));
        let (high, low) = (high.expect("four bits"), low.expect("four bits"));
        metadata.response_code = ResponseCode::from(high, low);
        if let Some((name, rtype)) = question {
            message.add_query(Query::query(name, rtype.into()));
        }
        message.add_answers(answers);
        message.add_authorities(authorities);
        message.add_additionals(additionals);
        if let Some((size, dnssec_ok)) = edns {
            let mut edns = Edns::new();
            edns.set_max_payload(size).set_dnssec_ok(dnssec_ok);
            edns.set_rcode_high(high);
            message.set_edns(edns);
        }
        message
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn messages_that_hickory_writes_are_read_alike(message in their_message()) {
        let bytes = message.to_vec().expect("small enough to be written");
        compare(&bytes);
    }

    #[test]
    fn changed_messages_are_read_alike_or_refused(
        message in their_message(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = message.to_vec().expect("small enough to be written");
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        compare(&bytes);
    }

    #[test]
    fn cut_messages_keep_header_and_question(message in their_message(), at in any::<prop::sample::Index>()) {
        let bytes = message.to_vec().expect("small enough to be written");
        let cut = at.index(bytes.len());
        let whole = ours(&bytes).expect("whole");
        compare(&bytes[..cut]);
        let view = parse(&bytes[..cut], bytes.len(), &mut NameCache::new());
        prop_assert_eq!(view.is_some(), cut >= 12);
        if let Some(view) = view {
            prop_assert_eq!(view.header, whole.header);
            if view.question.is_some() {
                prop_assert_eq!(view.question, whole.question);
            }
        }
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        compare(&bytes);
        let _ = dnswhy::dns::describe(&bytes);
    }
}

/// Payloads of UDP datagrams on port 53 in the frames of classic pcap and pcapng files with
/// Ethernet or raw IP links.
fn payloads(file: &[u8], mut each: impl FnMut(&[u8])) {
    use etherparse::{LaxSlicedPacket, TransportSlice};
    use pcap_parser::{Block, PcapBlockOwned, PcapError, create_reader};

    let mut link = 1;
    let mut frame = |link: i32, bytes: &[u8]| {
        let sliced = match link {
            1 => LaxSlicedPacket::from_ethernet(bytes).ok(),
            12 | 101 | 228 | 229 => LaxSlicedPacket::from_ip(bytes).ok(),
            _ => None,
        };
        if let Some(TransportSlice::Udp(udp)) = sliced.and_then(|sliced| sliced.transport)
            && (udp.source_port() == 53 || udp.destination_port() == 53)
        {
            each(udp.payload());
        }
    };
    let Ok(mut reader) = create_reader(1 << 20, file) else {
        return;
    };
    loop {
        match reader.next() {
            Ok((offset, block)) => {
                match block {
                    PcapBlockOwned::LegacyHeader(header) => link = header.network.0 & 0x0fff_ffff,
                    PcapBlockOwned::Legacy(record) => frame(link, record.data),
                    PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => {
                        link = interface.linktype.0;
                    }
                    PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => frame(link, packet.data),
                    PcapBlockOwned::NG(_) => {}
                }
                reader.consume(offset);
            }
            Err(PcapError::Incomplete(_)) => {
                if reader.refill().is_err()
                    || (reader.reader_exhausted() && reader.data().is_empty())
                {
                    break;
                }
            }
            Err(_) => break,
        }
    }
}

/// Real messages, from the folder that `DNSWHY_SHARED` names; passes without it.
#[test]
fn captured_messages_are_read_alike() {
    let Some(shared) = std::env::var_os("DNSWHY_SHARED") else {
        return;
    };
    let pattern = std::path::Path::new(&shared).join("corpus/*/*.pcap*");
    let paths = glob::glob(&pattern.to_string_lossy()).expect("a pattern");
    let (mut messages, mut accepted) = (0_u32, 0_u32);
    for path in paths.flatten() {
        let Ok(file) = std::fs::read(&path) else {
            continue;
        };
        payloads(&file, |payload| {
            messages += 1;
            accepted += u32::from(Theirs::from_vec(payload).is_ok());
            compare(payload);
            let _ = dnswhy::dns::describe(payload);
        });
    }
    assert!(messages == 0 || accepted > messages / 2, "{accepted} of {messages}");
}
