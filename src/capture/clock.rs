//! The clock of a pcapng interface: what its units of time are (`if_tsresol`, `if_tsoffset`;
//! draft-ietf-opsawg-pcapng section 4.2).

use pcap_parser::nom::IResult;
use pcap_parser::{OptionCode, PcapError, PcapNGOption, parse_option_be, parse_option_le};

use super::order::Order;
use crate::base::Timestamp;

/// How the units of an interface become time.
pub(super) struct Clock {
    scale: Scale,
    /// `if_tsoffset`, in nanoseconds.
    offset: i128,
}

enum Scale {
    /// Nanoseconds in a unit.
    Nanos(i128),
    /// Units in a second, where a unit is not a whole number of nanoseconds.
    PerSecond(i128),
}

impl Clock {
    /// `if_tsresol` and `if_tsoffset` among the options of an interface.
    pub(super) fn of_options(order: Order, mut options: &[u8]) -> Self {
        let mut clock = Self::of_resolution(6);
        while let Ok((rest, option)) = next_option(order, options) {
            options = rest;
            match option.code {
                OptionCode::EndOfOpt => break,
                OptionCode::IfTsresol => {
                    if let Some(resolution) = option.value.first() {
                        clock.scale = Self::of_resolution(*resolution).scale;
                    }
                }
                OptionCode::IfTsoffset => {
                    if let Some(seconds) = order.i64(&option.value) {
                        clock.offset = i128::from(seconds) * 1_000_000_000;
                    }
                }
                _ => {}
            }
        }
        clock
    }

    /// A unit is 10^-n seconds, or 2^-n if the highest bit is set.
    fn of_resolution(resolution: u8) -> Self {
        let exponent = u32::from(resolution & 0x7f);
        let base: i128 = if resolution & 0x80 == 0 { 10 } else { 2 };
        let per_second = base.saturating_pow(exponent);
        let scale = if 1_000_000_000 % per_second == 0 {
            Scale::Nanos(1_000_000_000 / per_second)
        } else {
            Scale::PerSecond(per_second)
        };
        Self { scale, offset: 0 }
    }

    pub(super) fn at(&self, units: u64) -> Timestamp {
        let nanos = match self.scale {
            Scale::Nanos(factor) => i128::from(units) * factor,
            Scale::PerSecond(per_second) => i128::from(units) * 1_000_000_000 / per_second,
        } + self.offset;
        let bounded = nanos.clamp(i128::from(i64::MIN), i128::from(i64::MAX));
        Timestamp::from_nanos(i64::try_from(bounded).unwrap_or(i64::MAX))
    }
}

fn next_option(order: Order, data: &[u8]) -> IResult<&[u8], PcapNGOption<'_>, PcapError<&[u8]>> {
    match order {
        Order::Little => parse_option_le(data),
        Order::Big => parse_option_be(data),
    }
}
