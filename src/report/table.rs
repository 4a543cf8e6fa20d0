//! Plain tables, aligned by what a terminal shows and not by bytes.

use std::fmt::Write;

use unicode_width::UnicodeWidthStr;

/// Which side of its column a cell leans to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Rows under a header, aligned; each line is indented by two spaces.
pub(super) fn table(header: &[(&str, Align)], rows: &[Vec<String>]) -> Vec<String> {
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
    let mut lines = vec![line(&mut header.iter().map(|(title, _)| *title))];
    lines.extend(rows.iter().map(|row| line(&mut row.iter().map(String::as_str))));
    lines
}

/// `text` broken into lines of at most `width` columns, at spaces.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && line.width() + 1 + word.width() > width {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
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
        let lines = table(&[("name", Align::Left), ("n", Align::Right)], &rows);
        assert_eq!(lines, ["  name   n", "  域名   7", "  a     12"]);
    }

    #[test]
    fn lines_break_at_spaces() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("longerthanthat", 4), ["longerthanthat"]);
    }
}
