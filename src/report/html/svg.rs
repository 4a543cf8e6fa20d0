//! Shapes of an inline drawing. Colours are classes of the page's style sheet, so that one drawing
//! serves light, dark and paper.

use std::fmt::Write;

/// A drawing of `width` by `height` units.
pub(super) struct Svg {
    width: f64,
    height: f64,
    body: String,
}

/// `text` as it may stand inside an element or a quoted attribute.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in crate::report::escape::terminal(text).chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            _ => safe.push(c),
        }
    }
    safe
}

/// A corner, a width and a height.
#[derive(Debug, Clone, Copy)]
pub(super) struct Area {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Svg {
    pub(super) fn new(width: f64, height: f64) -> Self {
        Self { width, height, body: String::new() }
    }

    /// A rectangle; `title` is shown where a pointer rests on it.
    pub(super) fn rect(&mut self, class: &str, area: Area, title: &str) {
        let Area { x, y, width, height } = area;
        let (width, height) = (width.max(0.0), height.max(0.0));
        // Writing to a string cannot fail, here and below.
        let _ = write!(
            self.body,
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\""
        );
        self.body.push_str(&match title {
            "" => "/>\n".to_owned(),
            _ => format!("><title>{}</title></rect>\n", escape(title)),
        });
    }

    /// A straight line.
    pub(super) fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let _ = writeln!(
            self.body,
            "<line class=\"{class}\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>",
            from.0, from.1, to.0, to.1
        );
    }

    /// Words; the class says how they are aligned.
    pub(super) fn text(&mut self, class: &str, at: (f64, f64), text: &str) {
        let _ = writeln!(
            self.body,
            "<text class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            at.0,
            at.1,
            escape(text)
        );
    }

    /// A filled shape.
    pub(super) fn polygon(&mut self, class: &str, points: &[(f64, f64)]) {
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(self.body, "<polygon class=\"{class}\" points=\"{}\"/>", points.join(" "));
    }

    /// The whole element, said in words for those who do not see it.
    pub(super) fn finish(self, label: &str) -> String {
        format!(
            "<svg role=\"img\" aria-label=\"{}\" viewBox=\"0 0 {:.0} {:.0}\" \
             xmlns=\"http://www.w3.org/2000/svg\">\n{}</svg>",
            escape(label),
            self.width,
            self.height,
            self.body
        )
    }
}
