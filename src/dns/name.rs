//! Domain names: wire bytes with their case kept, compared without it (RFC 4343).

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use smallvec::SmallVec;

use crate::base::digest;
use crate::base::words::ToText;

/// A domain name in uncompressed wire format, the root label included.
///
/// Equality, order and hash fold ASCII case (RFC 4343 section 3); the bytes keep it. Cloning
/// shares the bytes. A value is always well formed: labels of 1 to 63 bytes, at most 255 bytes
/// in all (RFC 1035 section 2.3.4).
///
/// The shared bytes begin with a digest of the folded name: tables hash a name once, when it is
/// made, and two different names hardly ever have their bytes compared.
#[derive(Clone)]
pub struct Name(Arc<[u8]>);

/// Bytes of the digest before the wire bytes.
const DIGEST: usize = size_of::<u64>();

impl Name {
    /// The longest name, in bytes of wire format.
    pub const MAX_WIRE: usize = 255;
    /// The longest label, in bytes.
    pub const MAX_LABEL: usize = 63;

    /// The root.
    pub fn root() -> Self {
        Self::of(&[0])
    }

    /// A name from uncompressed wire bytes that end with the root label; `None` if they are
    /// anything else.
    pub fn from_wire(wire: &[u8]) -> Option<Self> {
        let mut rest = wire;
        while let Some((&length, tail)) = rest.split_first() {
            if length == 0 {
                let whole = tail.is_empty() && wire.len() <= Self::MAX_WIRE;
                return whole.then(|| Self::of(wire));
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
        (wire.len() <= Self::MAX_WIRE).then(|| Self::of(&wire))
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
        self.0.get(DIGEST..).unwrap_or_default()
    }

    /// The digest of its folded bytes, the same in every run.
    pub fn digest(&self) -> u64 {
        self.0.first_chunk().map_or(0, |digest| u64::from_ne_bytes(*digest))
    }

    /// A name with these bytes, which are well formed.
    fn of(wire: &[u8]) -> Self {
        let mut bytes = [0; DIGEST + Self::MAX_WIRE];
        let whole = bytes.get_mut(..DIGEST + wire.len()).unwrap_or_default();
        if let Some((digest, rest)) = whole.split_first_chunk_mut() {
            *digest = folded_digest(wire).to_ne_bytes();
            rest.copy_from_slice(wire);
        }
        Self(Arc::from(&*whole))
    }

    /// Whether it is the root.
    pub fn is_root(&self) -> bool {
        self.wire().len() <= 1
    }

    /// Its labels from left to right, without the root label.
    pub fn labels(&self) -> Labels<'_> {
        Labels { rest: self.wire() }
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

    /// A digest of the leftmost label in lower case: all candidates of a search have the same.
    pub fn first_label_digest(&self) -> u64 {
        let mut label: SmallVec<[u8; 64]> = SmallVec::from_slice(self.first_label().unwrap_or(&[]));
        label.make_ascii_lowercase();
        digest(&label)
    }

    /// The name without its leftmost `skip` labels; the root if it has no more than that.
    #[must_use]
    pub fn without_leading(&self, skip: usize) -> Self {
        Self::of(self.tail(skip))
    }

    /// The same without a copy, to look it up in a table.
    pub fn ending(&self, skip: usize) -> Ending<'_> {
        Ending(self.tail(skip))
    }

    /// The name above it; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        (!self.is_root()).then(|| self.without_leading(1))
    }

    /// Whether it is `zone` or lies below it.
    pub fn is_under(&self, zone: &Self) -> bool {
        self.ending(0).is_under(zone.wire())
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

    /// Where it stands in the order of names, roughly: of two names with different ranks the one with
    /// the lesser comes first. For those who sort thousands.
    pub(crate) fn rank(&self) -> [u128; 2] {
        let mut rank = [0; 2 * size_of::<u128>()];
        let mut at = 0;
        'name: for label in self.labels() {
            for byte in label {
                let Some(place) = rank.get_mut(at) else { break 'name };
                *place = byte.to_ascii_lowercase().max(1);
                // A zero would look like a label's end, so the rank ends with it.
                if *byte <= 1 {
                    break 'name;
                }
                at += 1;
            }
            at += 1;
        }
        let [mut one, mut two] = [[0; size_of::<u128>()]; 2];
        one.copy_from_slice(&rank[..16]);
        two.copy_from_slice(&rank[16..]);
        [one, two].map(u128::from_be_bytes)
    }

    /// Whether both begin with the same `count` labels.
    pub fn begins_like(&self, other: &Self, count: usize) -> bool {
        self.head(count).is_some_and(|mine| {
            other.head(count).is_some_and(|theirs| mine.eq_ignore_ascii_case(theirs))
        })
    }

    /// The first `count` labels by themselves; `None` if there are not so many.
    pub fn leading(&self, count: usize) -> Option<Self> {
        let mut wire: SmallVec<[u8; Self::MAX_WIRE + 1]> = SmallVec::from_slice(self.head(count)?);
        wire.push(0);
        Some(Self::of(&wire))
    }

    /// Whether both are the same bytes, case included.
    pub fn same_case(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    /// Whether it is written with an upper-case letter anywhere.
    pub fn has_upper_case(&self) -> bool {
        // Length bytes are below b'A'; without a way out, many bytes are looked at in one step.
        self.wire().iter().fold(false, |any, byte| any | byte.is_ascii_uppercase())
    }

    /// The wire bytes of the first `count` labels; `None` if there are not so many.
    fn head(&self, count: usize) -> Option<&[u8]> {
        let mut end = 0;
        for _ in 0..count {
            let length = usize::from(*self.wire().get(end).filter(|length| **length > 0)?);
            end += 1 + length;
        }
        self.wire().get(..end)
    }

    fn tail(&self, skip: usize) -> &[u8] {
        let mut rest = self.wire();
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

/// The end of a [`Name`], borrowed; equal to the name that it spells and hashed like it.
#[derive(Debug, Clone, Copy)]
pub struct Ending<'a>(&'a [u8]);

impl Ending<'_> {
    /// The name that it spells.
    pub fn to_name(self) -> Name {
        Name::of(self.0)
    }

    /// Whether it is the root.
    pub fn is_root(self) -> bool {
        self.0.len() <= 1
    }

    /// Whether it spells `name`.
    pub fn is(self, name: &Name) -> bool {
        is_same(self.0, name.wire())
    }

    /// Whether it is the zone with these wire bytes or lies below it. Names of other zones differ in
    /// their last bytes, which are seen before any label is counted.
    pub(crate) fn is_under(self, zone: &[u8]) -> bool {
        let Some(at) = self.0.len().checked_sub(zone.len()) else { return false };
        let mut border = 0;
        self.0.get(at..).is_some_and(|end| is_same(end, zone)) && {
            while let Some(length) = self.0.get(border).filter(|_| border < at) {
                border += 1 + usize::from(*length);
            }
            border == at
        }
    }
}

impl Hash for Ending<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(folded_digest(self.0));
    }
}

impl hashbrown::Equivalent<Name> for Ending<'_> {
    fn equivalent(&self, name: &Name) -> bool {
        self.is(name)
    }
}

/// The digest of wire bytes without their case.
fn folded_digest(wire: &[u8]) -> u64 {
    let mut folded = [0; Name::MAX_WIRE];
    let Some(target) = folded.get_mut(..wire.len()) else { return 0 };
    target.copy_from_slice(wire);
    target.make_ascii_lowercase();
    digest(target)
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

/// Whether both spell the same; most are written in the same case, which is seen at once.
#[inline]
fn is_same(one: &[u8], other: &[u8]) -> bool {
    one == other || one.eq_ignore_ascii_case(other)
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        // Length bytes are below b'A', so folding the whole wire format is safe.
        Arc::ptr_eq(&self.0, &other.0)
            || (self.digest() == other.digest() && is_same(self.wire(), other.wire()))
    }
}

impl Eq for Name {}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.digest());
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
        if Arc::ptr_eq(&self.0, &other.0) {
            return Ordering::Equal;
        }
        // What both begin with settles nothing; a border of labels in it is one in both.
        let (mine, theirs) = (self.wire(), other.wire());
        let Some(differ) = first_difference(mine, theirs) else { return Ordering::Equal };
        let mut label = 0;
        while let Some(length) = mine.get(label).map(|length| usize::from(*length))
            && label + length < differ
        {
            label += 1 + length;
        }
        if label < differ {
            return folded_at(mine, differ).cmp(&folded_at(theirs, differ));
        }
        // Two labels of different lengths, one of them perhaps the root's.
        let one = Labels { rest: mine.get(label..).unwrap_or_default() }.next();
        let two = Labels { rest: theirs.get(label..).unwrap_or_default() }.next();
        let (one, two) = (one.unwrap_or_default(), two.unwrap_or_default());
        match first_difference(one, two) {
            Some(differ) => folded_at(one, differ).cmp(&folded_at(two, differ)),
            None => one.len().cmp(&two.len()),
        }
    }
}

fn folded_at(bytes: &[u8], at: usize) -> Option<u8> {
    bytes.get(at).map(u8::to_ascii_lowercase)
}

/// The first place where two runs of bytes differ, case folded; `None` if they do not as far as both
/// reach.
fn first_difference(one: &[u8], two: &[u8]) -> Option<usize> {
    let length = one.len().min(two.len());
    let mut at = 0;
    while let (Some(a), Some(b)) = (word(one, at), word(two, at)) {
        let differ = if a == b { 0 } else { folded_word(a) ^ folded_word(b) };
        if differ != 0 {
            return Some(at + differ.trailing_zeros() as usize / 8);
        }
        at += size_of::<u64>();
    }
    (at..length).find(|at| folded_at(one, *at) != folded_at(two, *at))
}

/// The eight bytes from `at` on, the first one in the lowest place.
fn word(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|chunk| u64::from_le_bytes(*chunk))
}

/// Eight bytes in lower case.
fn folded_word(word: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let low = word & (0x7f * EACH);
    // The high bit of each byte: at least `A`, and beyond `Z`. No sum reaches the next byte.
    let from_a = low + u64::from(0x80 - b'A') * EACH;
    let past_z = low + u64::from(0x7f - b'Z') * EACH;
    let upper = from_a & !past_z & !word & (0x80 * EACH);
    word | (upper >> 2)
}

/// Presentation format without a final dot; bytes outside printable ASCII, dots and
/// backslashes inside a label are escaped as RFC 1035 section 5.1 has it. The root is `.`.
impl ToText for Name {}

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
        let table = crate::base::Set::from_iter([name("Example.com")]);
        assert!(table.contains(&name("www.EXAMPLE.com").ending(1)));
        assert!(!table.contains(&name("www.example.com").ending(0)));
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
    fn names_are_ordered_label_by_label_without_case() {
        let mut names = [
            ".",
            "a",
            "A.b",
            "a.b.c",
            "a-",
            "ab.c",
            "B",
            "b.a",
            "kube-dns.kube-system.svc.corp",
            "kube-dns.kube-system.svc.core",
            "KUBE-dns.kube-system.svc.cor",
            "kube-dns.kube-system.s",
            "[.kube-system.svc",
            "@.kube-system.svc",
            "z.KUBE-SYSTEM.svc",
            r"\195\129.kube-system",
            r"\227\161.kube-system",
            r"kube\000z",
            r"kube\001a",
            r"kube\002a",
        ]
        .map(name);
        let slow = |one: &Name, two: &Name| {
            let lower = |n: &Name| n.labels().map(<[u8]>::to_ascii_lowercase).collect::<Vec<_>>();
            lower(one).cmp(&lower(two))
        };
        for one in &names {
            for two in &names {
                assert_eq!(one.cmp(two), slow(one, two), "{one} {two}");
                let ranks = one.rank().cmp(&two.rank());
                assert!(ranks.is_eq() || ranks == slow(one, two), "{one} {two}");
            }
        }
        names.sort();
        assert!(names.is_sorted_by(|a, b| slow(a, b).is_lt()));
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
