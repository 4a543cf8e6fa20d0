//! Who the addresses are: pods, Services, nodes, where somebody said so.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;

use super::escape::terminal;
use crate::base::words::{Text, plain, text};

/// Names for addresses. Without any, reports show addresses alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    known: BTreeMap<IpAddr, Named>,
}

/// Who an address is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// `pod`, `service`, `node` or `external`.
    pub kind: &'static str,
    /// Its namespace, where it has one.
    pub namespace: Option<String>,
    /// Its own name.
    pub name: String,
    /// The node that it runs on.
    pub node: Option<String>,
}

impl Named {
    /// Short: `pod shop/api-1`, `node worker-2`.
    pub fn short(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{} {namespace}/{}", self.kind, self.name),
            None => format!("{} {}", self.kind, self.name),
        }
    }

    /// With the node: `pod shop/api-1 on worker-2`.
    pub fn long(&self) -> Text {
        let name = plain(self.short());
        match &self.node {
            Some(node) => text!("{name} on {node}", name, node = plain(node)),
            None => name,
        }
    }
}

impl Names {
    /// Says who `address` is; what was said first stays. Nothing in a name is obeyed by a terminal.
    pub fn add(&mut self, address: IpAddr, named: Named) {
        let Named { kind, namespace, name, node } = named;
        self.known.entry(address).or_insert_with(|| Named {
            kind,
            namespace: namespace.map(|namespace| terminal(&namespace)),
            name: terminal(&name),
            node: node.map(|node| terminal(&node)),
        });
    }

    /// Who `address` is.
    pub fn get(&self, address: IpAddr) -> Option<&Named> {
        self.known.get(&address)
    }

    /// Every address that is known, with its name.
    pub fn iter(&self) -> impl Iterator<Item = (IpAddr, &Named)> {
        self.known.iter().map(|(address, named)| (*address, named))
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// How many addresses are known.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// A cell of a table: empty where nothing is known.
    pub fn cell(&self, address: IpAddr) -> Text {
        self.get(address).map_or(Text::EMPTY, Named::long)
    }

    /// `text` with the name behind the first mention of each known address. For sentences, never for
    /// commands that people copy.
    pub fn annotate<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if self.known.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut told = std::collections::BTreeSet::new();
        let mut out = String::with_capacity(text.len());
        for (word, is_address) in words(text) {
            out.push_str(word);
            if !is_address {
                continue;
            }
            let bare = word.trim_end_matches(['.', ':']);
            let Ok(address) = bare.parse::<IpAddr>() else { continue };
            if let Some(named) = self.get(address)
                && told.insert(address)
            {
                let tail = &word[bare.len()..];
                out.truncate(out.len() - tail.len());
                out.push_str(" (");
                out.push_str(&named.short());
                out.push(')');
                out.push_str(tail);
            }
        }
        Cow::Owned(out)
    }
}

/// `text` in pieces; true for one that may be an address and stands alone (no prefix, no port).
fn words(text: &str) -> impl Iterator<Item = (&str, bool)> {
    let part = |c: char| c.is_ascii_hexdigit() || matches!(c, '.' | ':');
    let mut rest = text;
    let mut before = ' ';
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let inside = part(first);
        let end = rest.find(|c| part(c) != inside).unwrap_or(rest.len());
        let (word, tail) = rest.split_at(end);
        rest = tail;
        let after = tail.chars().next().unwrap_or(' ');
        let glued = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '@' | '%');
        let alone = inside && !glued(before) && !glued(after);
        before = word.chars().last().unwrap_or(' ');
        Some((word, alone))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        let mut names = Names::default();
        let pod = |name: &str| Named {
            kind: "pod",
            namespace: Some("shop".to_owned()),
            name: name.to_owned(),
            node: Some("worker-1".to_owned()),
        };
        names.add("10.244.1.10".parse().unwrap(), pod("api-1"));
        names.add("fd00::a".parse().unwrap(), pod("api-2"));
        names
    }

    #[test]
    fn an_address_is_named_where_it_is_first_mentioned() {
        let said = "10.244.1.10 answered nothing; ask 10.244.1.10, fd00::a or 10.244.1.1.";
        assert_eq!(
            names().annotate(said),
            "10.244.1.10 (pod shop/api-1) answered nothing; ask 10.244.1.10, fd00::a (pod \
             shop/api-2) or 10.244.1.1."
        );
        assert_eq!(names().annotate("to 10.244.1.10."), "to 10.244.1.10 (pod shop/api-1).");
    }

    #[test]
    fn what_only_looks_like_an_address_is_left_alone() {
        for said in ["10.244.1.10/24 is a prefix", "www.10.244.1.10-x", "at 12:00:03.005"] {
            assert_eq!(names().annotate(said), said);
        }
    }
}
