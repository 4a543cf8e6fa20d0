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

/// Pieces that a line may be broken between: words, a number with its unit.
fn pieces(text: &str) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let bare = word.trim_end_matches([',', ';', '.', ':', ')']);
        match pieces.last_mut() {
            Some(last) if UNITS.contains(&bare) && last.ends_with(|c: char| c.is_ascii_digit()) => {
                last.push(' ');
                last.push_str(word);
            }
            _ => pieces.push(word.to_owned()),
        }
    }
    pieces
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

/// `text` broken into lines of at most `width` columns, at spaces.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in pieces(text) {
        if !line.is_empty() && line.width() + 1 + word.width() > width {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&word);
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
}
