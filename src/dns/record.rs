//! Record types, and full record data for evidence.

use crate::base::words::ToText;
use std::fmt;

/// A record type (RFC 1035 section 3.2.2; IANA "DNS Resource Record TYPEs").
///
/// Displayed as its mnemonic, an unassigned one as `TYPE<n>` (RFC 3597 section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordType(pub u16);

impl RecordType {
    /// An IPv4 address.
    pub const A: Self = Self(1);
    /// A name server.
    pub const NS: Self = Self(2);
    /// The canonical name of an alias.
    pub const CNAME: Self = Self(5);
    /// Start of authority.
    pub const SOA: Self = Self(6);
    /// A pointer, used for reverse lookups.
    pub const PTR: Self = Self(12);
    /// Host information; the CoreDNS loop plugin asks for it (rulebook K9).
    pub const HINFO: Self = Self(13);
    /// Mail exchange.
    pub const MX: Self = Self(15);
    /// Text.
    pub const TXT: Self = Self(16);
    /// An IPv6 address (RFC 3596).
    pub const AAAA: Self = Self(28);
    /// Service location (RFC 2782).
    pub const SRV: Self = Self(33);
    /// The EDNS pseudo-record (RFC 6891).
    pub const OPT: Self = Self(41);
    /// HTTPS service binding (RFC 9460).
    pub const HTTPS: Self = Self(65);
    /// Any type.
    pub const ANY: Self = Self(255);
}

impl ToText for RecordType {}

impl fmt::Display for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match hickory_proto::rr::RecordType::from(self.0) {
            hickory_proto::rr::RecordType::Unknown(code) => write!(f, "TYPE{code}"),
            known => write!(f, "{known}"),
        }
    }
}

/// The records of the answer and authority sections in presentation form, one line each, as far
/// as hickory-proto reads the message; `None` if it refuses it.
///
/// For evidence alone: it allocates, and it is stricter than [`super::parse`]. Control characters
/// are escaped as in RFC 1035 section 5.1; everything else is as hostile as the capture.
pub fn describe(payload: &[u8]) -> Option<Vec<String>> {
    let message = hickory_proto::op::Message::from_vec(payload).ok()?;
    let records = message.answers.iter().chain(&message.authorities);
    Some(records.map(|record| escape(&record.to_string())).collect())
}

fn escape(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    for letter in line.chars() {
        if letter.is_control() {
            let mut bytes = [0_u8; 4];
            for &byte in letter.encode_utf8(&mut bytes).as_bytes() {
                plain.push('\\');
                let digits = [byte / 100, byte / 10 % 10, byte % 10];
                plain.extend(digits.map(|digit| char::from(b'0' + digit)));
            }
        } else {
            plain.push(letter);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_written_as_in_a_zone_file() {
        let payload = b"\0\x01\x81\x80\0\x01\0\x01\0\0\0\0\x01a\x02bc\0\0\x01\0\x01\
            \xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x01";
        let lines = describe(payload).unwrap();
        assert_eq!(lines, ["a.bc. 60 IN A 192.0.2.1"]);
        assert_eq!(describe(&payload[..20]), None);
    }

    #[test]
    fn control_characters_do_not_reach_a_terminal() {
        assert_eq!(escape("a\x1b[31m\u{9b}é"), r"a\027[31m\194\155é");
    }
}
