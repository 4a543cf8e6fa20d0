//! Generic routing encapsulation: RFC 2784 and RFC 2890, version 1 as in PPTP (RFC 2637), and
//! mirrored traffic in it (ERSPAN).

use super::decode::Next;
use super::view::View;
use super::{Body, Skip};

const CHECKSUM: u16 = 0x8000;
const ROUTING: u16 = 0x4000;
const KEY: u16 = 0x2000;
const SEQUENCE: u16 = 0x1000;
const ACKNOWLEDGMENT: u16 = 0x0080;
const VERSION: u16 = 0x0007;

/// Reads a GRE header: what it carries.
pub(super) fn header(view: View<'_>) -> Result<Next<'_>, Skip> {
    let (&[f0, f1, t0, t1], mut rest) = view.split::<4>()?;
    let flags = u16::from_be_bytes([f0, f1]);
    let kind = u16::from_be_bytes([t0, t1]);
    if flags & VERSION > 1 {
        return Err(Skip::BadHeader);
    }
    // Checksum and routing offset come as a pair if either is there.
    if flags & (CHECKSUM | ROUTING) != 0 {
        rest = rest.skip(4)?;
    }
    for field in [KEY, SEQUENCE] {
        if flags & field != 0 {
            rest = rest.skip(4)?;
        }
    }
    if flags & VERSION == 1 && flags & ACKNOWLEDGMENT != 0 {
        rest = rest.skip(4)?;
    }
    if flags & ROUTING != 0 {
        rest = source_route(rest)?;
    }
    match kind {
        // ERSPAN type I has no header of its own and no sequence number; type II has 8 bytes.
        0x88be if flags & SEQUENCE == 0 => Ok(Next::Ethernet(rest)),
        0x88be => Ok(Next::Ethernet(rest.skip(8)?)),
        0x22eb => erspan_3(rest),
        // WCCP, with or without its redirect header.
        0x883e if rest.looks_like_ip() => Ok(Next::Ip(rest)),
        0x883e => Ok(Next::Ip(rest.skip(4)?)),
        0x0600.. => Ok(Next::EtherType(kind, rest)),
        _ => Ok(Next::Body(Body::Other)),
    }
}

/// Skips the source route of RFC 1701: entries up to an empty one.
fn source_route(mut view: View<'_>) -> Result<View<'_>, Skip> {
    loop {
        let (&[a0, a1, _, length], rest) = view.split::<4>()?;
        view = rest.skip(usize::from(length))?;
        if [a0, a1, length] == [0, 0, 0] {
            return Ok(view);
        }
    }
}

/// ERSPAN type III: 12 bytes, and 8 more if its last bit says so.
fn erspan_3(view: View<'_>) -> Result<Next<'_>, Skip> {
    let (&[.., last], rest) = view.split::<12>()?;
    let extra = if last & 1 == 1 { 8 } else { 0 };
    Ok(Next::Ethernet(rest.skip(extra)?))
}

#[cfg(test)]
mod tests {
    use crate::packet::Skip;
    use crate::packet::sample::{
        assert_is_other, decoded, ethernet, ipv4, join, query_via, v4, v6,
    };

    fn gre(header: &[u8], payload: &[u8]) -> Vec<u8> {
        ipv4(47, &join(&[header, payload]))
    }

    #[test]
    fn optional_fields_are_stepped_over() {
        assert_eq!(query_via(101, &gre(&[0, 0, 8, 0], &v4())).tunnels, 1);
        for (flag, words) in [(0x80, 1), (0x20, 1), (0x10, 1), (0x30, 2), (0xb0, 3)] {
            let header = join(&[&[flag, 0, 0x86, 0xdd], &vec![1; words * 4]]);
            query_via(101, &gre(&header, &v6()));
        }
        let routed = [0x40, 0, 8, 0, 0, 0, 0, 0, 8, 0, 0, 4, 1, 2, 3, 4, 0, 0, 0, 0];
        query_via(101, &gre(&routed, &v4()));
    }

    #[test]
    fn ethernet_ppp_and_mirrored_traffic_are_carried() {
        let frame = ethernet(0x0800, &v4());
        query_via(101, &gre(&[0, 0, 0x65, 0x58], &frame));
        query_via(101, &gre(&[0, 0, 0x88, 0xbe], &frame));
        let type_2 = [0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10, 0, 0, 0, 0, 0, 0, 0];
        query_via(101, &gre(&type_2, &frame));
        let mut type_3 = vec![0x10, 0, 0x22, 0xeb, 0, 0, 0, 1];
        type_3.extend([0; 12]);
        query_via(101, &gre(&type_3, &frame));
        type_3[19] = 1;
        type_3.extend([0; 8]);
        query_via(101, &gre(&type_3, &frame));
        let pptp = [0x30, 0x81, 0x88, 0x0b, 0, 0, 0, 7, 0, 0, 0, 1, 0, 0, 0, 1];
        query_via(101, &gre(&pptp, &join(&[&[0xff, 3, 0, 0x21], &v4()])));
        query_via(101, &gre(&[0, 0, 0x88, 0x3e], &v4()));
        query_via(101, &gre(&[0, 0, 0x88, 0x3e, 0, 0, 0, 0], &v4()));
    }

    #[test]
    fn other_versions_are_not_guessed_at() {
        let odd = gre(&[0, 5, 8, 0], &v4());
        assert_eq!(decoded(101, &odd).unwrap_err(), Skip::BadHeader);
        assert_is_other(101, &gre(&[0, 0, 0, 0], &[]));
    }
}
