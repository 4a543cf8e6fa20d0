//! The OPT pseudo-record (RFC 6891) and the options that tell something about a failure.

use super::wire::u16_at;

/// Option codes (IANA "DNS EDNS0 Option Codes").
const COOKIE: u16 = 10;
const EXTENDED_ERROR: u16 = 15;

/// What OPT says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Edns {
    /// Requestor's UDP payload size in bytes.
    pub udp_size: u16,
    /// The upper eight bits of the RCODE.
    pub extended_rcode: u8,
    /// Version; 0 is the only one defined.
    pub version: u8,
    /// DNSSEC OK (RFC 3225).
    pub dnssec_ok: bool,
    /// INFO-CODE of the first extended DNS error (RFC 8914).
    pub extended_error: Option<u16>,
    /// Whether a COOKIE option is there (RFC 7873).
    pub cookie: bool,
}

impl Edns {
    /// What the fields of an OPT record say, and whether its options could be read to their end.
    /// `class`, `ttl` and `rdata` are those of the record (RFC 6891 section 6.1.2).
    pub(super) fn read(class: u16, ttl: u32, rdata: &[u8]) -> (Self, bool) {
        let [extended_rcode, version, flags, _] = ttl.to_be_bytes();
        let mut edns = Self {
            udp_size: class,
            extended_rcode,
            version,
            dnssec_ok: flags & 0x80 != 0,
            extended_error: None,
            cookie: false,
        };
        let mut rest = rdata;
        while !rest.is_empty() {
            let (Some(code), Some(length)) = (u16_at(rest, 0), u16_at(rest, 2)) else {
                return (edns, false);
            };
            let end = 4 + usize::from(length);
            let Some(data) = rest.get(4..end) else {
                return (edns, false);
            };
            match code {
                COOKIE => edns.cookie = true,
                EXTENDED_ERROR if edns.extended_error.is_none() => {
                    edns.extended_error = u16_at(data, 0);
                }
                _ => {}
            }
            rest = rest.get(end..).unwrap_or_default();
        }
        (edns, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_past_unknown_ones() {
        let rdata = [
            0, 3, 0, 0, // NSID
            0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8, // COOKIE
            0, 15, 0, 3, 0, 23, b'x', // EDE 23, network error
            0, 15, 0, 2, 0, 3,
        ];
        let (edns, whole) = Edns::read(1232, 0x0100_8000, &rdata);
        assert!(whole && edns.cookie && edns.dnssec_ok);
        assert_eq!((edns.udp_size, edns.extended_rcode, edns.version), (1232, 1, 0));
        assert_eq!(edns.extended_error, Some(23));
    }

    #[test]
    fn an_option_that_runs_past_its_record_keeps_what_came_before() {
        let (edns, whole) = Edns::read(512, 0, &[0, 15, 0, 2, 0, 18, 0, 10, 0, 8, 1]);
        assert!(!whole && !edns.cookie);
        assert_eq!(edns.extended_error, Some(18));
    }
}
