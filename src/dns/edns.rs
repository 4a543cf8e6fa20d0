//! The OPT pseudo-record (RFC 6891) and the options that tell something about a failure.

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
