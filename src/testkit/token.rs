//! Words, numbers and addresses of the language.

use std::net::{IpAddr, SocketAddr};

use crate::capture::LinkType;

/// The words of a line: a quoted text is one word that begins with `"`, `;` is a word of its
/// own, and a word that begins with `#` ends the line.
pub(super) fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() && !rest.starts_with('#') {
        let end = if let Some(quoted) = rest.strip_prefix('"') {
            let text = quoted.split('"').next().unwrap_or_default();
            words.push(format!("\"{text}"));
            (text.len() + 2).min(rest.len())
        } else if rest.starts_with(';') {
            words.push(";".to_owned());
            1
        } else {
            let end = rest.find(|c: char| c.is_whitespace() || c == ';');
            let word = &rest[..end.unwrap_or(rest.len())];
            words.push(word.to_owned());
            word.len()
        };
        rest = rest[end..].trim_start();
    }
    words
}

/// Seconds with up to nine decimals, in nanoseconds.
pub(super) fn nanos(text: &str) -> Result<i64, String> {
    let bad = || format!("no time in seconds: {text}");
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    if part.len() > 9 || !format!("{whole}{part}").bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad());
    }
    let whole: i64 = whole.parse().map_err(|_| bad())?;
    let part: i64 = format!("{part:0<9}").parse().map_err(|_| bad())?;
    Ok(sign * (whole * 1_000_000_000 + part))
}

/// `ADDR` or `ADDR:PORT`, IPv6 with a port in brackets.
pub(super) fn address_of(text: &str) -> Option<(IpAddr, Option<u16>)> {
    if let Ok(ip) = text.parse() {
        return Some((ip, None));
    }
    let socket: SocketAddr = text.parse().ok()?;
    Some((socket.ip(), Some(socket.port())))
}

/// A link type by the name that tcpdump gives it.
pub(super) fn link_type(name: &str) -> Result<LinkType, String> {
    Ok(match name {
        "en10mb" => LinkType::ETHERNET,
        "sll" => LinkType::LINUX_SLL,
        "sll2" => LinkType::LINUX_SLL2,
        "raw" => LinkType::RAW,
        "null" => LinkType::NULL,
        _ => return Err(format!("unknown link type: {name}")),
    })
}

/// Bytes written in hexadecimal.
pub(super) fn hex(text: &str) -> Result<Vec<u8>, String> {
    let bad = || format!("no bytes in hexadecimal: {text}");
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return Err(bad());
    }
    (0..text.len())
        .step_by(2)
        .map(|n| u8::from_str_radix(&text[n..n + 2], 16).map_err(|_| bad()))
        .collect()
}

/// A number of any type, or a complaint that names it.
pub(super) fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("no such number: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_split_into_words() {
        let words = split("  0.5 a > b; \"v=spf1 # ~all\" x#y # comment");
        let expected = ["0.5", "a", ">", "b", ";", "\"v=spf1 # ~all", "x#y"];
        assert_eq!(words, expected);
    }

    #[test]
    fn times_are_exact() {
        assert_eq!(nanos("5.0003"), Ok(5_000_300_000));
        assert_eq!(nanos("-2"), Ok(-2_000_000_000));
        assert!(nanos("1e3").is_err() && nanos("").is_err() && nanos("1.0000000001").is_err());
    }

    #[test]
    fn addresses_may_have_a_port() {
        let v6: IpAddr = "fd00::a".parse().unwrap();
        assert_eq!(address_of("fd00::a"), Some((v6, None)));
        assert_eq!(address_of("[fd00::a]:53"), Some((v6, Some(53))));
        assert_eq!(address_of("pod"), None);
        assert_eq!(hex("0aFf"), Ok(vec![10, 255]));
        assert!(hex("0").is_err() && hex("zz").is_err());
    }
}
