//! From what was typed to what is looked at.

use std::time::Duration;

use anyhow::{Result, bail};
use jiff::civil;
use jiff::tz::TimeZone;

use super::args::FocusArgs;
use crate::analysis::{Focus, Mask};
use crate::base::{Span, Timestamp};
use crate::capture::Inventory;
use crate::dns::Name;

/// How far around `--at` to look if nobody says.
const AROUND: Duration = Duration::from_mins(1);

/// A time of day comes again after that.
const DAY: Duration = Duration::from_hours(24);

/// The focus that was asked for, on captures that begin where `inventory` does.
pub(super) fn focus(args: &FocusArgs, inventory: &Inventory) -> Result<Focus> {
    let (zone, begun) = (zone(args)?, begun(inventory));
    let instant = |text: &Option<String>| match text {
        Some(text) => instant(text, &zone, begun).map(Some),
        None => Ok(None),
    };
    let (from, to, at) = (instant(&args.from)?, instant(&args.to)?, instant(&args.at)?);
    let span = match (at, from, to) {
        (Some(at), ..) => {
            let around = args.window.unwrap_or(AROUND);
            Some(Span { start: at.before(around), end: at.after(around) })
        }
        (None, None, None) => None,
        (None, from, to) => {
            let (start, end) = (from.unwrap_or(Timestamp::MIN), to.unwrap_or(Timestamp::MAX));
            if end < start {
                bail!("--from lies behind --to: nothing can be in between");
            }
            Some(Span { start, end })
        }
    };
    Ok(Focus {
        span,
        clients: args.client.clone(),
        servers: args.server.clone(),
        names: args.name.clone(),
    })
}

/// Says which day was taken for a time of day that the captures, as they are known now to reach to
/// `end`, hold on another one as well.
pub(super) fn day_taken(
    args: &FocusArgs,
    inventory: &Inventory,
    end: Option<Timestamp>,
) -> Option<String> {
    let (zone, begun, end) = (zone(args).ok()?, begun(inventory), end?);
    let typed = [&args.at, &args.from, &args.to].into_iter().flatten();
    typed.filter(|text| time_of_day(text).is_some()).find_map(|text| {
        let taken = instant(text, &zone, begun).ok().filter(|taken| taken.after(DAY) <= end)?;
        let day = date_in(taken, &zone)?;
        Some(format!(
            "{text} is taken for that of {day}, the first day that has it: name the date for another"
        ))
    })
}

/// The zone of times that do not say theirs.
fn zone(args: &FocusArgs) -> Result<TimeZone> {
    let Some(name) = &args.timezone else { return Ok(TimeZone::UTC) };
    TimeZone::get(name).map_err(|_| {
        anyhow::anyhow!("there is no time zone '{name}': name one such as UTC or Asia/Shanghai")
    })
}

/// From where the first capture begins to where the last one does: what is known of their length
/// before they are read.
fn begun(inventory: &Inventory) -> Option<Span> {
    let firsts = inventory.files.iter().filter_map(|file| file.first);
    firsts.map(Span::at).reduce(Span::join)
}

fn date_in(ts: Timestamp, zone: &TimeZone) -> Option<civil::Date> {
    let time = jiff::Timestamp::from_nanosecond(i128::from(ts.nanos())).ok()?;
    Some(time.to_zoned(zone.clone()).date())
}

/// The focus as a masked analysis knows it.
pub(super) fn masked(mut focus: Focus, mask: &mut Mask) -> Result<Focus> {
    for network in focus.clients.iter_mut().chain(&mut focus.servers) {
        *network = mask.network(*network);
    }
    for pattern in &mut focus.names {
        *pattern = masked_name(pattern, mask)?;
    }
    Ok(focus)
}

/// A name that is looked for as a masked analysis knows it.
pub(super) fn masked_name(pattern: &glob::Pattern, mask: &mut Mask) -> Result<glob::Pattern> {
    let text = pattern.as_str();
    let plain = !text.contains(['*', '?', '[']);
    let name = Name::parse(text).filter(|_| plain);
    let Some(name) = name else {
        bail!("--name '{text}' cannot be masked: with --anonymize, name it without wildcards");
    };
    Ok(glob::Pattern::new(&glob::Pattern::escape(&mask.name(&name).to_string()))?)
}

/// An instant as people write it: RFC 3339, date and time in a zone, or the time of day that a
/// report shows, on the day of the capture: if there are several, they have to say which.
fn instant(text: &str, zone: &TimeZone, begun: Option<Span>) -> Result<Timestamp> {
    let zoned =
        |civil: civil::DateTime| civil.to_zoned(zone.clone()).map(|zoned| zoned.timestamp());
    let parsed = match (time_of_day(text), begun) {
        (Some(time), Some(begun)) => first_day(time, zone, begun.start),
        _ => text.parse::<jiff::Timestamp>().or_else(|_| zoned(text.parse::<civil::DateTime>()?)),
    };
    let nanos = parsed.ok().and_then(|time| i64::try_from(time.as_nanosecond()).ok());
    let Some(instant) = nanos.map(Timestamp::from_nanos) else {
        bail!(
            "'{text}' is no time: write 2022-12-22T20:00:03Z, '2022-12-22 20:00:03' or 20:00:03 \
             (in UTC, or with --timezone Asia/Shanghai)"
        );
    };
    if time_of_day(text).is_some()
        && begun.is_some_and(|begun| instant.after(DAY) <= begun.end)
        && let Some(day) = date_in(instant, zone)
    {
        bail!("these captures hold {text} on several days: name the date, as in '{day} {text}'");
    }
    Ok(instant)
}

/// A time without a date.
fn time_of_day(text: &str) -> Option<civil::Time> {
    let dated = text.parse::<jiff::Timestamp>().is_ok() || text.parse::<civil::DateTime>().is_ok();
    if dated { None } else { text.parse().ok() }
}

/// That time of day on the day on which captures begin, or, if it was over by then, on the next.
fn first_day(
    time: civil::Time,
    zone: &TimeZone,
    begin: Timestamp,
) -> Result<jiff::Timestamp, jiff::Error> {
    let first = jiff::Timestamp::from_nanosecond(i128::from(begin.nanos()))?;
    let day = first.to_zoned(zone.clone()).date();
    let on = |day: civil::Date| Ok(day.to_datetime(time).to_zoned(zone.clone())?.timestamp());
    let same_day: jiff::Timestamp = on(day)?;
    if same_day.as_second() + 1 < first.as_second() { on(day.tomorrow()?) } else { Ok(same_day) }
}

/// A length of time as people write it: `60s`, `5m`, `1h30m`.
pub(super) fn length(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<u64>().map(Duration::from_secs).ok();
    let friendly = || text.parse::<jiff::SignedDuration>().ok()?.try_into().ok();
    seconds
        .or_else(friendly)
        .ok_or_else(|| "expected a length of time such as 30s or 5m".to_owned())
}

/// An address, or a prefix such as 10.244.0.0/24.
pub(super) fn network(text: &str) -> Result<ipnet::IpNet, String> {
    let address = || text.parse::<std::net::IpAddr>().ok().map(ipnet::IpNet::from);
    let prefix = text.parse::<ipnet::IpNet>().ok().map(|network| network.trunc());
    prefix
        .or_else(address)
        .ok_or_else(|| "expected an address or a prefix such as 10.244.0.0/24".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let begin = Timestamp::from_parts(1_671_710_403, 5);
        let read = |text: &str, zone: &TimeZone| instant(text, zone, Some(Span::at(begin)));
        let expected = Timestamp::from_parts(1_671_739_203, 0);
        let utc = TimeZone::UTC;
        let east = TimeZone::fixed(jiff::tz::offset(8));
        for text in ["2022-12-22T20:00:03Z", "2022-12-22 20:00:03", "20:00:03"] {
            assert_eq!(read(text, &utc).unwrap(), expected, "{text}");
        }
        assert_eq!(read("2022-12-23 04:00:03", &east).unwrap(), expected);
        assert_eq!(
            read("01:00:00", &utc).unwrap(),
            Timestamp::from_parts(1_671_757_200, 0),
            "the night after"
        );
        let ring = Some(Span::between(begin, begin.after(DAY * 2)));
        let said = instant("20:00:03", &utc, ring).unwrap_err().to_string();
        assert!(said.contains("'2022-12-22 20:00:03'"), "{said}");
        assert_eq!(instant("2022-12-22 20:00:03", &utc, ring).unwrap(), expected);
        assert!(read("yesterday", &utc).unwrap_err().to_string().contains("--timezone"));
    }

    #[test]
    fn lengths_and_networks() {
        assert_eq!(length("90").unwrap(), Duration::from_secs(90));
        assert_eq!(length("5m").unwrap(), Duration::from_mins(5));
        assert!(length("-5m").is_err() && length("soon").is_err());
        assert_eq!(network("10.1.2.3").unwrap().to_string(), "10.1.2.3/32");
        assert_eq!(network("10.1.2.3/8").unwrap().to_string(), "10.0.0.0/8");
        assert!(network("pod-1").is_err());
    }
}
