//! UDP: every datagram on a DNS port is a message by itself, so nothing depends on order.

use super::sink::count;
use super::{CapturedMessage, Held, Ports};
use crate::base::Coverage;
use crate::dns::{Malformed, NameCache, RecentMessages};
use crate::packet::{Body, Packet};

/// Reads the messages of UDP datagrams.
#[derive(Default)]
pub struct Datagrams {
    recent: RecentMessages,
}

impl Datagrams {
    /// What a packet holds and, if it is a datagram on a DNS port with a message in it, that
    /// message; messages are counted in `coverage`.
    pub fn read(
        &mut self,
        packet: &Packet<'_>,
        ports: &Ports,
        coverage: &mut Coverage,
    ) -> (Held, Option<CapturedMessage>) {
        let (Body::Udp(datagram), Some(tuple)) = (&packet.body, packet.tuple()) else {
            return (Held::NotDns, None);
        };
        if !ports.concern(datagram.src_port, datagram.dst_port) {
            return (Held::NotDns, None);
        }
        let Some(message) = self.recent.message(datagram.payload, datagram.wire_len) else {
            let cut = datagram.payload.len() < datagram.wire_len;
            coverage.garbled += u64::from(!cut);
            return (if cut { Held::Cut } else { Held::NotDns }, None);
        };
        let broken = !matches!(message.stop, None | Some(Malformed::Cut));
        coverage.garbled += u64::from(broken);
        count(coverage, &message, tuple.transport);
        let captured = CapturedMessage { seen: packet.seen, via: packet.via, tuple, message };
        (Held::Dns, Some(captured))
    }

    /// The names that were seen.
    pub(super) fn names(&mut self) -> &mut NameCache {
        self.recent.names()
    }
}
