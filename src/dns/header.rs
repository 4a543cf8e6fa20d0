//! The header of a message (RFC 1035 section 4.1.1) and the codes in it.

use std::fmt;

use super::Edns;
use crate::base::words::ToText;

/// The twelve bytes every message begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Header {
    /// Transaction id.
    pub id: u16,
    /// The sixteen bits from QR to RCODE, as on the wire.
    pub flags: u16,
    /// QDCOUNT.
    pub questions: u16,
    /// ANCOUNT.
    pub answers: u16,
    /// NSCOUNT.
    pub authorities: u16,
    /// ARCOUNT.
    pub additionals: u16,
}

impl Header {
    /// Length in bytes.
    pub const LEN: usize = 12;

    /// The header that `bytes` begin with; `None` if they are fewer than twelve.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let &[i0, i1, f0, f1, q0, q1, a0, a1, n0, n1, r0, r1] = bytes.first_chunk::<12>()?;
        Some(Self {
            id: u16::from_be_bytes([i0, i1]),
            flags: u16::from_be_bytes([f0, f1]),
            questions: u16::from_be_bytes([q0, q1]),
            answers: u16::from_be_bytes([a0, a1]),
            authorities: u16::from_be_bytes([n0, n1]),
            additionals: u16::from_be_bytes([r0, r1]),
        })
    }

    /// QR: a response.
    pub const fn is_response(self) -> bool {
        self.flags & 0x8000 != 0
    }

    /// OPCODE, four bits; 0 is QUERY.
    pub const fn opcode(self) -> Opcode {
        Opcode(((self.flags >> 11) & 0x0f) as u8)
    }

    /// AA: an authoritative answer.
    pub const fn authoritative(self) -> bool {
        self.flags & 0x0400 != 0
    }

    /// TC: truncated.
    pub const fn truncated(self) -> bool {
        self.flags & 0x0200 != 0
    }

    /// RD: recursion desired.
    pub const fn recursion_desired(self) -> bool {
        self.flags & 0x0100 != 0
    }

    /// RA: recursion available.
    pub const fn recursion_available(self) -> bool {
        self.flags & 0x0080 != 0
    }

    /// AD: authentic data (RFC 4035 section 3.1.6).
    pub const fn authentic_data(self) -> bool {
        self.flags & 0x0020 != 0
    }

    /// CD: checking disabled.
    pub const fn checking_disabled(self) -> bool {
        self.flags & 0x0010 != 0
    }

    /// The header's four bits of RCODE.
    pub const fn rcode(self) -> Rcode {
        Rcode(self.flags & 0x000f)
    }
}

/// A response code of twelve bits (RFC 6895 section 2.3); displayed as IANA's mnemonic in
/// capitals, an unassigned one as `RCODE<n>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rcode(pub u16);

impl Rcode {
    /// The full code of a message: the header's four bits and, with EDNS, the eight above them (RFC
    /// 6891 section 6.1.3).
    pub fn of(header: Header, edns: Option<&Edns>) -> Self {
        let extended = edns.map_or(0, |edns| edns.extended_rcode);
        Self(u16::from(extended) << 4 | header.rcode().0)
    }

    /// No error.
    pub const NOERROR: Self = Self(0);
    /// Format error.
    pub const FORMERR: Self = Self(1);
    /// Server failure.
    pub const SERVFAIL: Self = Self(2);
    /// The name does not exist.
    pub const NXDOMAIN: Self = Self(3);
    /// Not implemented.
    pub const NOTIMP: Self = Self(4);
    /// Refused by policy.
    pub const REFUSED: Self = Self(5);
    /// Bad OPT version (RFC 6891 section 9).
    pub const BADVERS: Self = Self(16);
}

impl ToText for Rcode {}

impl fmt::Display for Rcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            0 => "NOERROR",
            1 => "FORMERR",
            2 => "SERVFAIL",
            3 => "NXDOMAIN",
            4 => "NOTIMP",
            5 => "REFUSED",
            6 => "YXDOMAIN",
            7 => "YXRRSET",
            8 => "NXRRSET",
            9 => "NOTAUTH",
            10 => "NOTZONE",
            11 => "DSOTYPENI",
            16 => "BADVERS",
            17 => "BADKEY",
            18 => "BADTIME",
            19 => "BADMODE",
            20 => "BADNAME",
            21 => "BADALG",
            22 => "BADTRUNC",
            23 => "BADCOOKIE",
            other => return write!(f, "RCODE{other}"),
        };
        f.write_str(name)
    }
}

/// An operation code (RFC 6895 section 2.2); displayed as IANA's mnemonic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Opcode(pub u8);

impl Opcode {
    /// A standard query.
    pub const QUERY: Self = Self(0);
    /// A notification that a zone changed (RFC 1996).
    pub const NOTIFY: Self = Self(4);
    /// A dynamic update (RFC 2136).
    pub const UPDATE: Self = Self(5);
    /// A DNS stateful operation (RFC 8490).
    pub const DSO: Self = Self(6);

    /// Whether IANA has assigned it.
    pub const fn is_assigned(self) -> bool {
        matches!(self.0, 0..=2 | 4..=6)
    }
}

impl fmt::Display for Opcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            0 => "QUERY",
            1 => "IQUERY",
            2 => "STATUS",
            4 => "NOTIFY",
            5 => "UPDATE",
            6 => "DSO",
            other => return write!(f, "OPCODE{other}"),
        };
        f.write_str(name)
    }
}
