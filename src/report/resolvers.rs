//! What lookups show of their clients' resolvers and of how these are set up, in words.

use std::net::IpAddr;

use super::Style;
use super::escape::terminal;
use super::table::wrap;
use crate::analysis::Analysis;
use crate::base::words::{Text, count, duration, join, list, text};
use crate::lookup::{Fingerprint, Profile};

/// Signs of a resolver that are spelled out.
const SIGNS: usize = 3;
/// Resolvers of one client that are.
const RESOLVERS: usize = 2;
/// Columns of the addresses.
const MARGIN: usize = 19;

/// A paragraph for each of these clients of which something is known.
pub(super) fn lines<'c>(
    analysis: &Analysis,
    clients: impl Iterator<Item = &'c IpAddr>,
    style: Style,
) -> Vec<String> {
    let mut lines = Vec::new();
    for client in clients {
        let Some(profile) = analysis.profiles.of(*client) else { continue };
        let words = words(&profile);
        if words.is_empty() {
            continue;
        }
        let name = client.to_string();
        let width = style.width.saturating_sub(MARGIN).max(30);
        let wrapped = wrap(&terminal(&words.render(style.lang)), width);
        for (index, line) in wrapped.iter().enumerate() {
            let margin = if index == 0 { name.as_str() } else { "" };
            lines.push(format!("  {margin:<15}  {line}"));
        }
    }
    lines
}

/// Everything that is known of one client.
fn words(profile: &Profile) -> Text {
    let mut parts: Vec<Text> = profile.fingerprints.iter().take(RESOLVERS).map(resolver).collect();
    if !profile.search.is_empty() {
        let times = if profile.search_lookups >= 32 {
            text!("32 lookups or more")
        } else {
            count(u64::from(profile.search_lookups), "lookup")
        };
        parts.push(text!("searches {search} ({times})", search = list(&profile.search, 8), times));
    }
    match (profile.ndots_at_least, profile.ndots_at_most) {
        (Some(least), Some(most)) if least == most => parts.push(text!("ndots {least}", least)),
        // Programs that disagree share this address.
        (Some(least), Some(most)) if least > most => {}
        (Some(least), _) => parts.push(text!("ndots at least {least}", least)),
        (None, Some(most)) => parts.push(text!("ndots at most {most}", most)),
        (None, None) => {}
    }
    if !parts.is_empty() && !profile.nameservers.is_empty() {
        parts.push(text!("asks {nameservers}", nameservers = list(&profile.nameservers, 4)));
    }
    parts.extend(
        profile
            .timeout
            .map(|wait| text!("asks a server again after {wait}", wait = duration(wait))),
    );
    join(parts, "; ")
}

fn resolver(known: &Fingerprint) -> Text {
    let signs = list(&known.observed, SIGNS);
    let signs = if signs.is_empty() { Text::EMPTY } else { text!(": {signs}", signs) };
    let lookups = count(known.lookups, "lookup");
    text!(
        "{resolver}, {confidence}, by {lookups}{signs}",
        resolver = known.resolver,
        confidence = known.confidence,
        lookups,
        signs
    )
}
