//! What people read, put together before anybody knows in which language they read it.
//!
//! The English text stands in the code, as in gettext: `text!("{server} answered nothing",
//! server)`. It is the message itself and the key to its translations ([`Lang`]). What
//! fills the placeholders is kept as it is (an address, a count with its noun, a list), so that
//! each language may put it its own way. Plain strings are no text by themselves: [`plain`] says
//! of one that it reads the same everywhere.

use std::cmp::Ordering;
use std::fmt::{self, Display};
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::{Serialize, Serializer};

use super::lang::Lang;
use super::time::Timestamp;

/// Words in any language. Displayed, serialised and compared it is its English.
#[derive(Debug, Clone)]
pub struct Text(Part);

#[derive(Debug, Clone)]
enum Part {
    /// The same in every language.
    Plain(String),
    /// A message with what fills its placeholders.
    Message(&'static str, Vec<(&'static str, Text)>),
    /// So many of a noun.
    Count(u64, &'static str),
    /// Items behind one another, and how many of them are spelled out.
    List(Vec<Text>, usize),
    /// Clauses or sentences with this message between them.
    Joined(Vec<Text>, &'static str),
    /// An instant, by its time of day alone or with its day.
    Clock(Timestamp, bool),
}

/// The context of nouns that are counted; `{n}` stands for the number.
pub const COUNTED: &str = "count";
/// The context of what stands between the items of a list.
pub const LISTED: &str = "list";
/// The context of what stands between clauses.
pub const JOINED: &str = "between";
/// What may stand between clauses.
pub const BETWEEN: [&str; 4] = ["", " ", ", ", "; "];
/// What stands between items of a list, and behind the last one that is spelled out.
pub const LIST: [&str; 2] = [", ", "{items} and {more} more"];

impl Text {
    /// Nothing.
    pub const EMPTY: Self = Self(Part::Plain(String::new()));

    /// A message without placeholders; `text!` makes it.
    #[doc(hidden)]
    pub const fn constant(message: &'static str) -> Self {
        Self(Part::Message(message, Vec::new()))
    }

    /// A message with its arguments; `text!` makes it.
    #[doc(hidden)]
    pub fn message(message: &'static str, arguments: Vec<(&'static str, Self)>) -> Self {
        Self(Part::Message(message, arguments))
    }

    /// A count with its noun.
    pub(super) fn count(n: u64, noun: &'static str) -> Self {
        Self(Part::Count(n, noun))
    }

    /// A list of which at most `most` items are spelled out.
    pub(super) fn list(items: Vec<Self>, most: usize) -> Self {
        Self(Part::List(items, most))
    }

    /// Texts with one of [`BETWEEN`] between them.
    pub(super) fn joined(items: Vec<Self>, between: &'static str) -> Self {
        Self(Part::Joined(items, between))
    }

    /// A time of day in UTC.
    pub(super) const fn clock(ts: Timestamp) -> Self {
        Self(Part::Clock(ts, false))
    }

    /// With its day before every time of day in it: of several days, the time alone says nothing.
    #[must_use]
    pub fn with_days(self) -> Self {
        let all = |texts: Vec<Self>| texts.into_iter().map(Self::with_days).collect();
        Self(match self.0 {
            Part::Message(message, arguments) => Part::Message(
                message,
                arguments.into_iter().map(|(name, text)| (name, text.with_days())).collect(),
            ),
            Part::List(items, most) => Part::List(all(items), most),
            Part::Joined(items, between) => Part::Joined(all(items), between),
            Part::Clock(ts, _) => Part::Clock(ts, true),
            same @ (Part::Plain(_) | Part::Count(..)) => same,
        })
    }

    /// Goes on with `more`.
    pub fn push(&mut self, more: Self) {
        match &mut self.0 {
            Part::Joined(parts, "") => parts.push(more),
            _ => *self = Self(Part::Joined(vec![std::mem::take(self), more], "")),
        }
    }

    /// Whether there is nothing to read.
    pub fn is_empty(&self) -> bool {
        self.render(Lang::En).is_empty()
    }

    /// As it reads in `lang`.
    pub fn render(&self, lang: Lang) -> String {
        let mut out = String::new();
        self.write(lang, &mut out);
        out
    }

    fn write(&self, lang: Lang, out: &mut String) {
        match &self.0 {
            Part::Plain(text) => out.push_str(text),
            Part::Message(message, arguments) => {
                let template = lang.translate("", message);
                fill(template, out, |name, out| {
                    let argument = arguments.iter().find(|(known, _)| *known == name);
                    if let Some((_, text)) = argument {
                        text.write(lang, out);
                    }
                });
            }
            Part::Count(n, noun) if lang == Lang::En => out.push_str(&counted(*n, noun)),
            Part::Count(n, noun) => fill(lang.translate(COUNTED, noun), out, |_, out| {
                out.push_str(&n.to_string());
            }),
            Part::List(items, most) => {
                let shown = |out: &mut String| {
                    let [between, _] = LIST;
                    let between = lang.translate(LISTED, between);
                    write_joined(items.iter().take(*most), between, lang, out);
                };
                match items.len().saturating_sub(*most) {
                    0 => shown(out),
                    more => fill(lang.translate(LISTED, LIST[1]), out, |name, out| match name {
                        "items" => shown(out),
                        _ => out.push_str(&more.to_string()),
                    }),
                }
            }
            Part::Joined(items, between) => {
                write_joined(items.iter(), lang.between(between), lang, out);
            }
            Part::Clock(ts, true) => out.push_str(&ts.civil("%Y-%m-%d %H:%M:%S%.3f")),
            Part::Clock(ts, false) => out.push_str(&ts.civil("%H:%M:%S%.3f")),
        }
    }
}

fn write_joined<'t>(
    items: impl Iterator<Item = &'t Text>,
    between: &str,
    lang: Lang,
    out: &mut String,
) {
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.push_str(between);
        }
        item.write(lang, out);
    }
}

/// Writes `template`, `{name}` filled by `each`, `{{` and `}}` as one brace.
fn fill(template: &str, out: &mut String, mut each: impl FnMut(&str, &mut String)) {
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, behind) = rest.split_at(at);
        out.push_str(before);
        rest = &behind[1..];
        if let Some(tail) = rest.strip_prefix(['{', '}'].as_slice()) {
            out.push_str(&behind[..1]);
            rest = tail;
        } else if let Some((name, tail)) = rest.split_once('}') {
            each(name, out);
            rest = tail;
        }
    }
    out.push_str(rest);
}

/// A count with its noun in English: `1 lookup`, `12 lookups`.
fn counted(n: u64, noun: &str) -> String {
    match (n, noun.strip_suffix('y')) {
        (1, _) => format!("1 {noun}"),
        (_, Some(stem)) if !stem.ends_with(['a', 'e', 'o']) => format!("{n} {stem}ies"),
        _ if noun.ends_with("ss") || noun.ends_with("ch") => format!("{n} {noun}es"),
        _ => format!("{n} {noun}s"),
    }
}

/// The names in the placeholders of a message, in order.
pub fn placeholders(message: &str) -> Vec<String> {
    let mut names = Vec::new();
    fill(message, &mut String::new(), |name, _| names.push(name.to_owned()));
    names
}

/// A message; fails, at compile time, unless it has exactly these placeholders.
#[doc(hidden)]
pub const fn agreed(message: &'static str, names: &[&str]) -> &'static str {
    let bytes = message.as_bytes();
    let mut used = 0_u64;
    let mut at = 0;
    while at < bytes.len() {
        let here = bytes[at];
        let twice = at + 1 < bytes.len() && bytes[at + 1] == here;
        assert!(
            here != b'}' || twice,
            "a closing brace stands alone; one that is read is written twice"
        );
        if here == b'{' && !twice {
            let start = at + 1;
            while at < bytes.len() && bytes[at] != b'}' {
                at += 1;
            }
            let mut name = 0;
            while name < names.len() && !is_at(bytes, start, at, names[name].as_bytes()) {
                name += 1;
            }
            assert!(name < names.len(), "a placeholder of the message has no argument");
            used |= 1 << name;
        } else if here == b'{' || here == b'}' {
            at += 1;
        }
        at += 1;
    }
    assert!(used + 1 == 1 << names.len(), "an argument has no placeholder in the message");
    message
}

const fn is_at(bytes: &[u8], start: usize, end: usize, name: &[u8]) -> bool {
    if end - start != name.len() {
        return false;
    }
    let mut at = 0;
    while at < name.len() && bytes[start + at] == name[at] {
        at += 1;
    }
    at == name.len()
}

/// What can stand in a [`Text`].
pub trait ToText: Display {
    /// It as text: the same in every language, unless it says otherwise.
    fn to_text(&self) -> Text {
        plain(self)
    }
}

/// What reads the same in every language: a name, a command, an address.
pub fn plain(value: impl Display) -> Text {
    Text(Part::Plain(value.to_string()))
}

impl ToText for Text {
    fn to_text(&self) -> Text {
        self.clone()
    }
}

impl<T: ToText + ?Sized> ToText for &T {
    fn to_text(&self) -> Text {
        (**self).to_text()
    }
}

macro_rules! plain_types {
    ($($plain:ty),* $(,)?) => { $(impl ToText for $plain {})* };
}

plain_types!(u8, u16, u32, u64, u128, usize, i32, i64, IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr);

/// Numbers in a form of their own: `share = format_args!("{share:.1}")`.
impl ToText for fmt::Arguments<'_> {}

/// Its English.
impl Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.render(Lang::En))
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Default for Text {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.render(Lang::En) == other.render(Lang::En)
    }
}

impl Eq for Text {}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.render(Lang::En) == other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        *self == **other
    }
}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The order does not depend on the language.
impl Ord for Text {
    fn cmp(&self, other: &Self) -> Ordering {
        self.render(Lang::En).cmp(&other.render(Lang::En))
    }
}

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.render(Lang::En).hash(state);
    }
}

/// A message for people, with what fills its placeholders: `text!("{server} of {service}",
/// server, service = hole.service())`. Its English stands here; `locales/` has the others.
macro_rules! text {
    ($message:literal $(,)?) => {
        $crate::base::text::Text::constant(const { $crate::base::text::agreed($message, &[]) })
    };
    ($message:literal, $($name:ident $(= $value:expr)?),+ $(,)?) => {
        $crate::base::text::Text::message(
            const { $crate::base::text::agreed($message, &[$(stringify!($name)),+]) },
            vec![$((stringify!($name), $crate::base::text::argument!($name $(= $value)?))),+],
        )
    };
}

macro_rules! argument {
    ($name:ident) => {
        $crate::base::text::ToText::to_text(&$name)
    };
    ($name:ident = $value:expr) => {
        $crate::base::text::ToText::to_text(&$value)
    };
}

pub(crate) use {argument, text};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::words::{count, duration, join, list};

    #[test]
    fn a_message_is_filled_by_name() {
        let server: IpAddr = "10.0.0.1".parse().unwrap();
        let waited = duration(std::time::Duration::from_secs(5));
        let said = text!("{server} took {waited} {{at most}}", server, waited = waited);
        assert_eq!(said, "10.0.0.1 took 5.00 s {at most}");
        assert_eq!(placeholders("{a} of {{b}} {c}"), ["a", "c"]);
    }

    #[test]
    fn what_it_is_made_of_is_kept_for_other_languages() {
        let items = list([1_u8, 2, 3].map(|n| text!("{n} of them", n)), 2);
        let said = text!("{what}: {items}", what = count(3, "query"), items);
        assert_eq!(said, "3 queries: 1 of them, 2 of them and 1 more");
        assert_eq!(join([text!("a"), text!("b")], "; "), "a; b");
        assert!(Text::EMPTY.is_empty() && text!("").is_empty());
    }

    #[test]
    fn what_is_not_translated_is_english() {
        assert_eq!(
            text!("no catalogue has this, {n}", n = 7_u8).render(Lang::Zh),
            "no catalogue has this, 7"
        );
    }
}
