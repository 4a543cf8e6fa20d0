//! Captured text made harmless: terminals, Markdown, spreadsheets.
//!
//! Names come from the network. [`crate::dns::Name`] already escapes all but printable ASCII;
//! what is left is markup, and the paths that the user named.

use std::fmt::Write;

/// `text` without anything that a terminal would obey: control characters and bidirectional
/// overrides become escapes.
pub(crate) fn terminal(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if c == '\n' || !(c.is_control() || is_bidirectional(c)) {
            safe.push(c);
        } else {
            // Writing to a string cannot fail.
            let _ = write!(safe, "\\u{{{:x}}}", u32::from(c));
        }
    }
    safe
}

/// `text` as plain words of a Markdown paragraph or table cell.
pub(crate) fn markdown(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in terminal(text).chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' | '~' | '!' => {
                safe.push('\\');
                safe.push(c);
            }
            '&' => safe.push_str("&amp;"),
            // No mention of anybody: the mark stays, what follows it is no longer attached.
            '@' => safe.push_str("&#64;&#8203;"),
            '\n' => safe.push(' '),
            _ => safe.push(c),
        }
    }
    safe
}

/// `text` as a block of code, fenced by more backticks than it holds, indented by `indent`.
pub(super) fn fenced(text: &str, indent: usize) -> String {
    let text = terminal(text);
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    let pad = " ".repeat(indent);
    let lines: String = text.trim_end().lines().map(|line| format!("{pad}{line}\n")).collect();
    format!("{pad}{fence}text\n{lines}{pad}{fence}")
}

/// `text` as inline code of Markdown, fenced by more backticks than it holds.
pub(crate) fn code(text: &str) -> String {
    let longest = terminal(text).split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let pad = if longest > 0 { " " } else { "" };
    let text = terminal(text).replace('\n', " ").replace('|', "\\|");
    format!("{fence}{pad}{text}{pad}{fence}")
}

/// `text` as a cell of CSV that no spreadsheet takes for a formula: what begins like one gets an
/// apostrophe in front.
pub(super) fn cell(text: &str) -> String {
    let text = terminal(text);
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text }
}

/// `text` as one word of a POSIX shell: quoted, unless it is plain anyway.
pub(super) fn word_of_a_shell(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/.:_-+=,@%".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Unicode's embeddings, overrides and isolates, which reorder what follows.
fn is_bidirectional(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_not_obeyed() {
        assert_eq!(terminal("a\u{1b}[31mb\u{202e}c"), "a\\u{1b}[31mb\\u{202e}c");
    }

    #[test]
    fn a_cell_is_no_formula() {
        assert_eq!(cell("=cmd|' /C calc'!A0"), "'=cmd|' /C calc'!A0");
        assert_eq!(["+1", "-1", "@a"].map(cell), ["'+1", "'-1", "'@a"]);
        assert_eq!(cell("api.example.com"), "api.example.com");
        assert_eq!(cell("\tx"), "\\u{9}x");
    }

    #[test]
    fn a_shell_takes_it_for_one_word() {
        assert_eq!(word_of_a_shell("ns/client_dns.pcap00.gz:901"), "ns/client_dns.pcap00.gz:901");
        assert_eq!(word_of_a_shell("my cap's.pcap:9"), "'my cap'\\''s.pcap:9'");
    }

    #[test]
    fn markup_is_only_text() {
        assert_eq!(markdown("<b>|x|</b>"), "\\<b\\>\\|x\\|\\</b\\>");
        assert_eq!(code("a`b"), "`` a`b ``");
    }
}
