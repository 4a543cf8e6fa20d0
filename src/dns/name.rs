//! Domain names: wire bytes with their case kept, compared without it (RFC 4343).

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A domain name in uncompressed wire format, the root label included.
///
/// Equality, order and hash fold ASCII case (RFC 4343 section 3); the bytes keep it. Cloning
/// shares the bytes. A value is always well formed: labels of 1 to 63 bytes, at most 255 bytes
/// in all (RFC 1035 section 2.3.4).
#[derive(Clone)]
pub struct Name(Arc<[u8]>);

impl Name {
    /// The longest name, in bytes of wire format.
    pub const MAX_WIRE: usize = 255;
    /// The longest label, in bytes.
    pub const MAX_LABEL: usize = 63;

    /// The root.
    pub fn root() -> Self {
        Self(Arc::from([0_u8].as_slice()))
    }

    /// A name from uncompressed wire bytes that end with the root label; `None` if they are
    /// anything else.
    pub fn from_wire(wire: &[u8]) -> Option<Self> {
        let mut rest = wire;
        while let Some((&length, tail)) = rest.split_first() {
            if length == 0 {
                let whole = tail.is_empty() && wire.len() <= Self::MAX_WIRE;
                return whole.then(|| Self(Arc::from(wire)));
            }
            let length = usize::from(length);
            if length > Self::MAX_LABEL {
                return None;
            }
            rest = tail.get(length..)?;
        }
        None
    }

    /// A name from its labels; `None` if one is empty or too long, or all are.
    pub fn from_labels<'a>(labels: impl IntoIterator<Item = &'a [u8]>) -> Option<Self> {
        let mut wire = Vec::with_capacity(64);
        for label in labels {
            let length = u8::try_from(label.len()).ok().filter(|&n| (1..=63).contains(&n))?;
            wire.push(length);
            wire.extend_from_slice(label);
        }
        wire.push(0);
        (wire.len() <= Self::MAX_WIRE).then(|| Self(Arc::from(wire)))
    }

    /// A name from presentation format (RFC 1035 section 5.1), with or without a final dot;
    /// `\.` and `\DDD` are understood.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "." {
            return Some(Self::root());
        }
        let mut labels: Vec<Vec<u8>> = vec![Vec::new()];
        let mut bytes = text.bytes().peekable();
        while let Some(byte) = bytes.next() {
            match byte {
                b'.' if bytes.peek().is_none() => break,
                b'.' => labels.push(Vec::new()),
                b'\\' => {
                    let first = bytes.next()?;
                    let plain = if first.is_ascii_digit() {
                        let (second, third) = (bytes.next()?, bytes.next()?);
                        let digits = [first, second, third];
                        std::str::from_utf8(&digits).ok()?.parse().ok()?
                    } else {
                        first
                    };
                    labels.last_mut()?.push(plain);
                }
                plain => labels.last_mut()?.push(plain),
            }
        }
        Self::from_labels(labels.iter().map(Vec::as_slice))
    }

    /// The wire bytes, the root label included.
    pub fn wire(&self) -> &[u8] {
        &self.0
    }

    /// Whether it is the root.
    pub fn is_root(&self) -> bool {
        self.0.len() <= 1
    }

    /// Its labels from left to right, without the root label.
    pub fn labels(&self) -> Labels<'_> {
        Labels { rest: &self.0 }
    }

    /// The number of labels, the root not counted.
    pub fn label_count(&self) -> usize {
        self.labels().count()
    }

    /// The dots of the name as an application writes it (without a final dot): what `ndots`
    /// is compared with.
    pub fn dots(&self) -> usize {
        self.label_count().saturating_sub(1)
    }

    /// The leftmost label.
    pub fn first_label(&self) -> Option<&[u8]> {
        self.labels().next()
    }

    /// The name without its leftmost `skip` labels; the root if it has no more than that.
    #[must_use]
    pub fn without_leading(&self, skip: usize) -> Self {
        Self(Arc::from(self.tail(skip)))
    }

    /// The name above it; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        (!self.is_root()).then(|| self.without_leading(1))
    }

    /// Whether it is `zone` or lies below it.
    pub fn is_under(&self, zone: &Self) -> bool {
        let (mine, theirs) = (self.label_count(), zone.label_count());
        mine >= theirs && self.tail(mine - theirs).eq_ignore_ascii_case(zone.wire())
    }

    /// What stands before `suffix`; `None` if the name does not end with it or is nothing else.
    pub fn strip_suffix(&self, suffix: &Self) -> Option<Self> {
        if suffix.is_root() || !self.is_under(suffix) {
            return None;
        }
        let keep = self.label_count() - suffix.label_count();
        if keep == 0 {
            return None;
        }
        Self::from_labels(self.labels().take(keep))
    }

    /// The name followed by `suffix`; `None` if that is too long.
    pub fn under(&self, suffix: &Self) -> Option<Self> {
        Self::from_labels(self.labels().chain(suffix.labels()))
    }

    /// The number of whole labels that both begin with.
    pub fn common_prefix(&self, other: &Self) -> usize {
        self.labels().zip(other.labels()).take_while(|(a, b)| a.eq_ignore_ascii_case(b)).count()
    }

    /// Whether both are the same bytes, case included.
    pub fn same_case(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    /// Whether it is written with an upper-case letter anywhere.
    pub fn has_upper_case(&self) -> bool {
        self.labels().any(|label| label.iter().any(u8::is_ascii_uppercase))
    }

    fn tail(&self, skip: usize) -> &[u8] {
        let mut rest: &[u8] = &self.0;
        for _ in 0..skip {
            match rest.split_first() {
                Some((&length, tail)) if length > 0 => {
                    rest = tail.get(usize::from(length)..).unwrap_or(&[0]);
                }
                _ => break,
            }
        }
        rest
    }
}

/// The labels of a [`Name`].
#[derive(Debug, Clone)]
pub struct Labels<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Labels<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (&length, tail) = self.rest.split_first()?;
        if length == 0 {
            return None;
        }
        let (label, rest) = tail.split_at_checked(usize::from(length))?;
        self.rest = rest;
        Some(label)
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        // Length bytes are below b'A', so folding the whole wire format is safe.
        Arc::ptr_eq(&self.0, &other.0) || self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for Name {}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let mut folded = [0_u8; Self::MAX_WIRE];
        if let Some(target) = folded.get_mut(..self.0.len()) {
            for (to, from) in target.iter_mut().zip(self.0.iter()) {
                *to = from.to_ascii_lowercase();
            }
            state.write(target);
        }
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The order of lists in reports: label by label from the left, case folded.
impl Ord for Name {
    fn cmp(&self, other: &Self) -> Ordering {
        let fold = |label: &[u8]| label.to_ascii_lowercase();
        self.labels().map(fold).cmp(other.labels().map(fold))
    }
}

/// Presentation format without a final dot; bytes outside printable ASCII, dots and
/// backslashes inside a label are escaped as RFC 1035 section 5.1 has it. The root is `.`.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        if self.is_root() {
            return f.write_str(".");
        }
        for (n, label) in self.labels().enumerate() {
            if n > 0 {
                f.write_char('.')?;
            }
            for &byte in label {
                match byte {
                    b'.' | b'\\' => write!(f, "\\{}", char::from(byte))?,
                    b'!'..=b'~' => f.write_char(char::from(byte))?,
                    other => write!(f, "\\{other:03}")?,
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    #[test]
    fn case_is_kept_and_ignored() {
        assert_eq!(name("WwW.Example.COM"), name("www.example.com."));
        assert_eq!(name("WwW.Example").to_string(), "WwW.Example");
        assert!(!name("A.b").same_case(&name("a.b")));
        let hash = |n: &Name| {
            use std::hash::BuildHasher;
            foldhash::fast::FixedState::with_seed(1).hash_one(n)
        };
        assert_eq!(hash(&name("API.example")), hash(&name("api.EXAMPLE")));
    }

    #[test]
    fn suffixes_are_whole_labels() {
        let asked = name("redis.default.svc.cluster.local");
        assert!(asked.is_under(&name("svc.cluster.local")));
        assert!(!name("xsvc.cluster.local").is_under(&name("svc.cluster.local")));
        assert_eq!(asked.strip_suffix(&name("svc.cluster.local")), Some(name("redis.default")));
        assert_eq!(asked.strip_suffix(&asked), None);
        assert_eq!(asked.common_prefix(&name("redis.default.corp")), 2);
        assert_eq!(asked.without_leading(3), name("cluster.local"));
        assert_eq!(name("a").under(&name("b.c")), Some(name("a.b.c")));
    }

    #[test]
    fn strange_bytes_are_escaped_and_come_back() {
        let odd = Name::from_labels([b"a.b".as_slice(), b"\x1b[31m", "é".as_bytes()]).unwrap();
        assert_eq!(odd.to_string(), r"a\.b.\027[31m.\195\169");
        assert_eq!(name(&odd.to_string()), odd);
    }

    #[test]
    fn limits_of_rfc_1035_hold() {
        assert!(Name::from_labels([[b'a'; 63].as_slice()]).is_some());
        assert!(Name::from_labels([[b'a'; 64].as_slice()]).is_none());
        assert!(Name::from_labels(std::iter::repeat_n([b'a'; 63].as_slice(), 4)).is_none());
        assert!(Name::from_wire(b"\x03com").is_none());
        assert!(Name::from_wire(b"\x03com\x00\x00").is_none());
        assert_eq!(Name::from_wire(b"\x03com\x00"), Some(name("com")));
        assert!(name(".").is_root() && name(".").parent().is_none());
    }
}
