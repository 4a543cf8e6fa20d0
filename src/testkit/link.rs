//! Link-layer headers around IP packets.

use super::node::Sighting;
use crate::capture::LinkType;
use crate::packet::Direction;

/// `packet` as a frame of type `link`, seen as `sighting` says.
pub(super) fn frame(
    link: LinkType,
    sighting: &Sighting,
    big_endian: bool,
    packet: &[u8],
) -> Vec<u8> {
    let v6 = packet.first().is_some_and(|byte| byte >> 4 == 6);
    let ether_type: u16 = if v6 { 0x86dd } else { 0x0800 };
    let mut out = Vec::with_capacity(packet.len() + 20);
    match link {
        LinkType::ETHERNET => {
            out.extend(sighting.mac_dst);
            out.extend(sighting.mac_src);
            out.extend(ether_type.to_be_bytes());
        }
        LinkType::LINUX_SLL => {
            out.extend(u16::from(packet_type(sighting.direction)).to_be_bytes());
            out.extend([0, 1, 0, 6]);
            out.extend(sighting.mac_src);
            out.extend([0, 0]);
            out.extend(ether_type.to_be_bytes());
        }
        LinkType::LINUX_SLL2 => {
            out.extend(ether_type.to_be_bytes());
            out.extend([0, 0]);
            out.extend(sighting.interface.to_be_bytes());
            out.extend([0, 1, packet_type(sighting.direction), 6]);
            out.extend(sighting.mac_src);
            out.extend([0, 0]);
        }
        LinkType::NULL => {
            // AF_INET, and AF_INET6 as macOS numbers it, in the byte order of the file.
            let family: u32 = if v6 { 30 } else { 2 };
            out.extend(if big_endian { family.to_be_bytes() } else { family.to_le_bytes() });
        }
        // Raw IP has no header; what other types begin with is not known here.
        _ => {}
    }
    out.extend(packet);
    out
}

/// The packet type of cooked headers (libpcap `sll.h`).
fn packet_type(direction: Direction) -> u8 {
    match direction {
        Direction::Host => 0,
        Direction::Broadcast => 1,
        Direction::Multicast => 2,
        Direction::OtherHost => 3,
        Direction::Outgoing => 4,
    }
}
