//! Headers between IP and transport: IPv6 extension headers (RFC 8200 section 4) and the
//! authentication header (RFC 4302).
//!
//! The chain is walked here and not by etherparse's `Ipv6ExtensionsSlice`, which reads on behind
//! the fragment header of a later fragment, where there is payload and no header.

use etherparse::err::ip_auth;
use etherparse::{IpAuthHeaderSlice, Ipv6FragmentHeaderSlice, Ipv6RawExtHeaderSlice};

use super::Skip;
use super::view::View;

/// Where a fragment belongs in its datagram.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    pub(super) id: u32,
    /// In bytes.
    pub(super) offset: usize,
    pub(super) more: bool,
}

/// What follows a chain of extension headers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chain<'a> {
    pub(super) protocol: u8,
    pub(super) payload: View<'a>,
    pub(super) piece: Option<Piece>,
}

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;
const MOBILITY: u8 = 135;
const HIP: u8 = 139;
const SHIM6: u8 = 140;

/// Whether the protocol number is that of the authentication header.
#[inline]
pub(super) fn is_authentication(protocol: u8) -> bool {
    protocol == AUTHENTICATION
}

/// Walks through an authentication header: protocol and payload behind it.
pub(super) fn authentication(view: View<'_>) -> Result<(u8, View<'_>), Skip> {
    let header = IpAuthHeaderSlice::from_slice(view.bytes).map_err(|why| match why {
        ip_auth::HeaderSliceError::Len(_) => Skip::Cut,
        ip_auth::HeaderSliceError::Content(_) => Skip::BadHeader,
    })?;
    Ok((header.next_header().0, view.skip(header.slice().len())?))
}

/// Walks through IPv6 extension headers, up to the transport or to a fragment's payload.
///
/// A fragment header that divides nothing (RFC 6946) is walked through like any other.
#[inline]
pub(super) fn walk(mut protocol: u8, mut payload: View<'_>) -> Result<Chain<'_>, Skip> {
    loop {
        match protocol {
            HOP_BY_HOP | ROUTING | DESTINATION | MOBILITY | HIP | SHIM6 => {
                let header = Ipv6RawExtHeaderSlice::from_slice(payload.bytes);
                let header = header.map_err(|_| Skip::Cut)?;
                protocol = header.next_header().0;
                payload = payload.skip(header.slice().len())?;
            }
            AUTHENTICATION => (protocol, payload) = authentication(payload)?,
            FRAGMENT => {
                let header = Ipv6FragmentHeaderSlice::from_slice(payload.bytes);
                let header = header.map_err(|_| Skip::Cut)?;
                protocol = header.next_header().0;
                payload = payload.skip(header.slice().len())?;
                if header.is_fragmenting_payload() {
                    let piece = Some(Piece {
                        id: header.identification(),
                        offset: usize::from(header.fragment_offset().value()) * 8,
                        more: header.more_fragments(),
                    });
                    return Ok(Chain { protocol, payload, piece });
                }
            }
            _ => {
                return Ok(Chain { protocol, payload, piece: None });
            }
        }
    }
}
