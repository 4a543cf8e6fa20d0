//! UDP: every datagram on a DNS port is a message by itself, so nothing depends on order.

use super::sink::count;
use super::{Held, Ports};
use crate::base::{Coverage, Transport};
use crate::dns::{Malformed, Message, RecentMessages};
use crate::packet::Datagram;

/// Reads the messages of UDP datagrams into a list.
#[derive(Default)]
pub struct Datagrams {
    recent: RecentMessages,
}

impl Datagrams {
    /// The place in the list of the message that a datagram on a DNS port holds, or what it holds
    /// instead; messages are counted in `coverage`.
    ///
    /// # Errors
    /// If it holds no message.
    pub fn read(
        &mut self,
        datagram: &Datagram<'_>,
        ports: &Ports,
        coverage: &mut Coverage,
    ) -> Result<usize, Held> {
        if !ports.concern(datagram.src_port, datagram.dst_port) {
            return Err(Held::NotDns);
        }
        match self.recent.message(datagram.payload, datagram.wire_len) {
            Some((place, message)) => {
                told(message, coverage);
                Ok(place)
            }
            None => Err(no_message(datagram, coverage)),
        }
    }

    /// The list, which begins anew.
    pub fn take(&mut self) -> Vec<Message> {
        self.recent.take()
    }
}

/// Counts the message of a datagram.
pub(super) fn told(message: &Message, coverage: &mut Coverage) {
    coverage.garbled += u64::from(!matches!(message.stop, None | Some(Malformed::Cut)));
    count(coverage, message, Transport::Udp);
}

/// Counts a datagram that holds no message.
pub(super) fn no_message(datagram: &Datagram<'_>, coverage: &mut Coverage) -> Held {
    let cut = datagram.payload.len() < datagram.wire_len;
    coverage.garbled += u64::from(!cut);
    if cut { Held::Cut } else { Held::NotDns }
}
