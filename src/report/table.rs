//! Plain tables, aligned by what a terminal shows and not by bytes.

use std::fmt::Write;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Which side of its column a cell leans to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Rows under a header, aligned; each line is indented by two spaces.
pub(super) fn table(header: &[(String, Align)], rows: &[Vec<String>]) -> Vec<String> {
    let mut widths: Vec<usize> = header.iter().map(|(title, _)| title.width()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::from(" ");
        for ((cell, (_, align)), width) in cells.zip(header).zip(&widths) {
            let pad = " ".repeat(width.saturating_sub(cell.width()));
            // Writing to a string cannot fail.
            let _ = match align {
                Align::Left => write!(line, " {cell}{pad} "),
                Align::Right => write!(line, " {pad}{cell} "),
            };
        }
        line.truncate(line.trim_end().len());
        line
    };
    let mut lines = vec![line(&mut header.iter().map(|(title, _)| title.as_str()))];
    lines.extend(rows.iter().map(|row| line(&mut row.iter().map(String::as_str))));
    lines
}

/// `text` with spaces behind it up to `width` columns.
pub(super) fn pad(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.width())))
}

/// Units stay on the line of their number.
const UNITS: [&str; 6] = ["ms", "s", "min", "h", "%", "UTC"];
/// What no line of Chinese begins with, and what none ends with (GB/T 15834).
const NO_BEGINNING: &str = "。，、；：！？）》」』】〉…％";
const NO_END: &str = "（《「『【〈";

/// A part of a text that no line break goes through, and whether a space stands before it.
struct Piece {
    spaced: bool,
    text: String,
}

/// Pieces that a line may be broken between: words, a number with its unit, characters of a script
/// that is written without spaces.
fn pieces(text: &str) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    for word in text.split_whitespace() {
        let bare = word.trim_end_matches([',', ';', '.', ':', ')']);
        match pieces.last_mut() {
            Some(last)
                if UNITS.contains(&bare) && last.text.ends_with(|c: char| c.is_ascii_digit()) =>
            {
                last.text.push(' ');
                last.text.push_str(word);
            }
            _ => unspaced(word, &mut pieces),
        }
    }
    pieces
}

/// The pieces of a word: it may be a sentence of a script without spaces.
fn unspaced(word: &str, pieces: &mut Vec<Piece>) {
    let wide = |c: char| c.width() == Some(2);
    let mut piece = Piece { spaced: true, text: String::new() };
    let mut before = None;
    for c in word.chars() {
        let breaks = before.is_some_and(|before| {
            (wide(before) || wide(c)) && !NO_BEGINNING.contains(c) && !NO_END.contains(before)
        });
        if breaks {
            let next = Piece { spaced: false, text: String::new() };
            pieces.push(std::mem::replace(&mut piece, next));
        }
        piece.text.push(c);
        before = Some(c);
    }
    pieces.push(piece);
}

/// `text` in at most `width` columns, with an ellipsis where something is missing.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut room = width.saturating_sub(1);
    let kept: String = text
        .chars()
        .take_while(|c| {
            let columns = c.width().unwrap_or(0);
            let fits = columns <= room;
            room = if fits { room - columns } else { 0 };
            fits
        })
        .collect();
    format!("{}…", kept.trim_end())
}

/// `text` broken into lines of at most `width` columns, at spaces and between characters that are
/// written without.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for Piece { spaced, text } in pieces(text) {
        let space = usize::from(spaced);
        if !line.is_empty() && line.width() + space + text.width() > width {
            lines.push(std::mem::take(&mut line));
        }
        if spaced && !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&text);
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_in_any_script() {
        let rows =
            vec![vec!["域名".to_owned(), "7".to_owned()], vec!["a".to_owned(), "12".to_owned()]];
        let lines =
            table(&[("name".to_owned(), Align::Left), ("n".to_owned(), Align::Right)], &rows);
        assert_eq!(lines, ["  name   n", "  域名   7", "  a     12"]);
    }

    #[test]
    fn what_does_not_fit_is_cut_by_columns() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdefg", 6), "abcde…");
        assert_eq!(cut("域名域名", 6), "域名…");
    }

    #[test]
    fn lines_break_at_spaces() {
        assert_eq!(wrap("it took 35.0 s, or so", 12), ["it took", "35.0 s, or", "so"]);
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("longerthanthat", 4), ["longerthanthat"]);
    }

    #[test]
    fn chinese_breaks_between_characters_but_not_before_a_full_stop() {
        assert_eq!(wrap("后端没有应答。", 8), ["后端没有", "应答。"]);
        assert_eq!(wrap("后端没有应。答", 10), ["后端没有", "应。答"]);
        assert_eq!(wrap("后端 10.0.0.1 没有应答", 14), ["后端 10.0.0.1", "没有应答"]);
    }
}
