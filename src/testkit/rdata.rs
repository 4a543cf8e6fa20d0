//! Records in presentation format (RFC 1035 section 5): `owner ttl TYPE rdata`.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::token::{hex, number};
use super::wire::{Datum, Record};
use crate::dns::Name;

/// The code of a record type's mnemonic.
pub(super) fn record_type(word: &str) -> Option<u16> {
    if !word.starts_with(|c: char| c.is_ascii_uppercase()) {
        return None;
    }
    if let Some(code) = word.strip_prefix("TYPE") {
        return code.parse().ok();
    }
    let known: hickory_proto::rr::RecordType = word.parse().ok()?;
    Some(known.into())
}

/// The code of a class's mnemonic, or its number.
pub(super) fn class(word: &str) -> Option<u16> {
    Some(match word {
        "IN" => 1,
        "CH" => 3,
        "HS" => 4,
        "ANY" => 255,
        other => other.parse().ok()?,
    })
}

/// A name, with or without a final dot.
pub(super) fn name(word: &str) -> Result<Name, String> {
    Name::parse(word).ok_or_else(|| format!("no domain name: {word}"))
}

/// One record from the words behind its owner.
pub(super) fn record<'a>(
    owner: &str,
    words: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>,
) -> Result<Record, String> {
    let mut next = || words.next().ok_or_else(|| "the record ends early".to_owned());
    let owner = name(owner)?;
    let ttl = number(next()?)?;
    let mut word = next()?;
    let mut of_class = 1;
    if let Some(code @ (1 | 3 | 4)) = class(word) {
        of_class = code;
        word = next()?;
    }
    let rtype = record_type(word).ok_or_else(|| format!("no record type: {word}"))?;
    let data = data(rtype, words)?;
    Ok(Record { owner, ttl, class: of_class, rtype, data })
}

fn data<'a>(
    rtype: u16,
    words: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>,
) -> Result<Vec<Datum>, String> {
    if words.next_if_eq(&r"\#").is_some() {
        let length: usize = number(words.next().unwrap_or_default())?;
        let bytes = if length > 0 { words.next() } else { None };
        return Ok(vec![Datum::Bytes(hex(bytes.unwrap_or_default())?)]);
    }
    if rtype == 16 {
        return texts(words);
    }
    let mut next = || words.next().ok_or_else(|| "the record ends early".to_owned());
    let mut out = Vec::new();
    match rtype {
        1 => {
            let address: Ipv4Addr = number(next()?)?;
            out.push(Datum::Bytes(address.octets().to_vec()));
        }
        28 => {
            let address: Ipv6Addr = number(next()?)?;
            out.push(Datum::Bytes(address.octets().to_vec()));
        }
        2 | 5 | 12 => out.push(Datum::Compressible(name(next()?)?)),
        6 => {
            out.push(Datum::Compressible(name(next()?)?));
            out.push(Datum::Compressible(name(next()?)?));
            for _ in 0..5 {
                out.push(Datum::Bytes(number::<u32>(next()?)?.to_be_bytes().to_vec()));
            }
        }
        13 => {
            for _ in 0..2 {
                out.push(text(next()?)?);
            }
        }
        15 => {
            out.push(Datum::Bytes(number::<u16>(next()?)?.to_be_bytes().to_vec()));
            out.push(Datum::Compressible(name(next()?)?));
        }
        33 => {
            for _ in 0..3 {
                out.push(Datum::Bytes(number::<u16>(next()?)?.to_be_bytes().to_vec()));
            }
            out.push(Datum::Plain(name(next()?)?));
        }
        other => return Err(format!(r"data of type {other} is written as \# LENGTH HEX")),
    }
    Ok(out)
}

/// One word, or all quoted ones in a row.
fn texts<'a>(
    words: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>,
) -> Result<Vec<Datum>, String> {
    let first = words.next().ok_or("the record ends early")?;
    let mut out = vec![text(first)?];
    if first.starts_with('"') {
        while let Some(more) = words.next_if(|word| word.starts_with('"')) {
            out.push(text(more)?);
        }
    }
    Ok(out)
}

fn text(word: &str) -> Result<Datum, String> {
    let text = word.strip_prefix('"').unwrap_or(word);
    let length = u8::try_from(text.len()).map_err(|_| "a text of over 255 bytes")?;
    let mut bytes = vec![length];
    bytes.extend(text.as_bytes());
    Ok(Datum::Bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::wire::MessageSpec;
    use hickory_proto::op::Message;

    fn read(text: &str) -> String {
        let words = crate::testkit::token::split(text);
        let mut words = words.iter().map(String::as_str).peekable();
        let owner = words.next().unwrap();
        let answers = vec![record(owner, &mut words).unwrap()];
        let flags = 0x8000;
        let spec = MessageSpec { flags, answers, ..MessageSpec::default() };
        Message::from_vec(&spec.bytes()).unwrap().answers[0].to_string()
    }

    #[test]
    fn record_data_of_each_type_comes_back() {
        for (text, expected) in [
            ("a.b. 5 A 203.0.113.7", "a.b. 5 IN A 203.0.113.7"),
            ("a.b. 5 AAAA 2001:db8::1", "a.b. 5 IN AAAA 2001:db8::1"),
            ("a.b. 5 CNAME c.b.", "a.b. 5 IN CNAME c.b."),
            ("b. 5 NS ns.b.", "b. 5 IN NS ns.b."),
            ("1.in-addr.arpa. 5 PTR a.b.", "1.in-addr.arpa. 5 IN PTR a.b."),
            ("b. 5 MX 10 mx.b.", "b. 5 IN MX 10 mx.b."),
            ("_x._tcp.b. 5 SRV 0 33 9092 a.b.", "_x._tcp.b. 5 IN SRV 0 33 9092 a.b."),
            ("b. 5 TXT \"v=spf1 -all\"", "b. 5 IN TXT v=spf1 -all"),
            (
                "b. 5 SOA ns.b. host.b. 1 7200 1800 86400 30",
                "b. 5 IN SOA ns.b. host.b. 1 7200 1800 86400 30",
            ),
            ("b. 5 HINFO \"a\" \"b\"", "b. 5 IN HINFO a b"),
        ] {
            assert_eq!(read(text), expected);
        }
    }

    #[test]
    fn data_of_any_type_may_be_written_in_hexadecimal() {
        let mut words = r"5 TYPE65400 \# 2 0aff".split(' ').peekable();
        let record = record("b.", &mut words).unwrap();
        assert_eq!(record.rtype, 65_400);
        assert!(matches!(&record.data[..], [Datum::Bytes(bytes)] if *bytes == [10, 255]));
    }

    #[test]
    fn types_and_classes_have_names() {
        assert_eq!(record_type("HTTPS"), Some(65));
        assert_eq!(record_type("TYPE65"), Some(65));
        assert_eq!(record_type("aaaa"), None);
        assert_eq!(class("CH"), Some(3));
    }
}
