//! Capture points: the places where captures were taken.
//!
//! All files of one ring were taken at one place. Nothing in a capture says so, but names do: files
//! of one directory whose names differ only by what rotation adds ([`super::rotation`]) are one
//! point, and `--point NAME=GLOB` says it where names do not.

use std::collections::BTreeMap;

use glob::Pattern;

use super::rotation::stem;
use super::{FileId, InputError, PointId};

/// A place where a capture was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    /// Its place in the inventory.
    pub id: PointId,
    /// Its name: what `--point` says, else the name of its files without what rotation added, behind
    /// their directory where that alone would be ambiguous.
    pub name: String,
    /// Its files, in the order in which they are analysed.
    pub files: Vec<FileId>,
}

/// The capture points that the user has named.
pub(super) struct Rules(Vec<(String, Pattern)>);

impl Rules {
    pub(super) fn parse(named: &[(String, String)]) -> Result<Self, InputError> {
        let parse = |(name, pattern): &(String, String)| match Pattern::new(pattern) {
            Ok(parsed) => Ok((name.clone(), parsed)),
            Err(error) => Err(InputError::PointPattern {
                name: name.clone(),
                pattern: pattern.clone(),
                reason: error.msg,
            }),
        };
        named.iter().map(parse).collect::<Result<_, _>>().map(Self)
    }

    /// The first point whose pattern matches the file's name, or its path as displayed or in full.
    fn point_of(&self, place: &Place) -> Option<&str> {
        let texts = [&place.name, &place.display, &place.full];
        self.0
            .iter()
            .find(|(_, pattern)| texts.iter().any(|text| pattern.matches(text)))
            .map(|(name, _)| name.as_str())
    }
}

/// Where a file lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Its name.
    pub(super) name: String,
    /// Its directory, relative to the folder with all inputs; empty for that folder.
    pub(super) folder: String,
    /// Its path, relative to the folder with all inputs.
    pub(super) display: String,
    /// Its whole path.
    pub(super) full: String,
}

/// What makes files one point.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Named(String),
    Ring { folder: String, stem: String },
}

/// The points of files in analysed order: of each file, and of all.
pub(super) fn group(places: &[Place], rules: &Rules) -> (Vec<PointId>, Vec<Point>) {
    let mut rings: BTreeMap<Key, Vec<usize>> = BTreeMap::new();
    for (index, place) in places.iter().enumerate() {
        let key = match rules.point_of(place) {
            Some(name) => Key::Named(name.to_owned()),
            None => Key::Ring { folder: place.folder.clone(), stem: stem(&place.name).to_owned() },
        };
        rings.entry(key).or_default().push(index);
    }
    let mut named = names(rings);
    named.sort();

    let mut points: Vec<Point> = Vec::new();
    let mut of_file = vec![PointId(0); places.len()];
    for (name, indices) in named {
        // What exceeds the number of points that can be told apart joins the last one.
        let id = PointId(u16::try_from(points.len()).unwrap_or(u16::MAX));
        for index in &indices {
            if let Some(of_file) = of_file.get_mut(*index) {
                *of_file = id;
            }
        }
        let files = indices.into_iter().map(file_id);
        match points.get_mut(usize::from(id.0)) {
            Some(last) => last.files.extend(files),
            None => points.push(Point { id, name, files: files.collect() }),
        }
    }
    (of_file, points)
}

/// The id of the file at `index` of the analysed order.
pub(super) fn file_id(index: usize) -> FileId {
    FileId(u32::try_from(index).unwrap_or(u32::MAX))
}

/// A name for the files of each key, unique among them.
fn names(rings: BTreeMap<Key, Vec<usize>>) -> Vec<(String, Vec<usize>)> {
    let mut uses: BTreeMap<String, usize> = BTreeMap::new();
    for key in rings.keys() {
        *uses.entry(key.short()).or_default() += 1;
    }
    rings
        .into_iter()
        .map(|(key, files)| {
            let short = key.short();
            let name = match key {
                Key::Ring { folder, stem } if uses.get(&short) > Some(&1) => {
                    let folder = if folder.is_empty() { "." } else { &folder };
                    format!("{folder}/{stem}")
                }
                _ => short,
            };
            (name, files)
        })
        .collect()
}

impl Key {
    fn short(&self) -> String {
        match self {
            Self::Named(name) => name.clone(),
            Self::Ring { folder, stem } if stem.is_empty() => {
                folder.rsplit('/').next().unwrap_or_default().to_owned()
            }
            Self::Ring { stem, .. } => stem.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(display: &str) -> Place {
        let (folder, name) = display.rsplit_once('/').unwrap_or(("", display));
        Place {
            name: name.to_owned(),
            folder: folder.to_owned(),
            display: display.to_owned(),
            full: format!("/captures/{display}"),
        }
    }

    fn points(files: &[&str], rules: &[(&str, &str)]) -> Vec<String> {
        let places: Vec<Place> = files.iter().map(|file| place(file)).collect();
        let rules: Vec<_> = rules
            .iter()
            .map(|(name, pattern)| ((*name).to_owned(), (*pattern).to_owned()))
            .collect();
        let (of_file, points) = group(&places, &Rules::parse(&rules).unwrap());
        for point in &points {
            for file in &point.files {
                assert_eq!(of_file[file.0 as usize], point.id);
            }
        }
        points
            .iter()
            .map(|point| {
                let files: Vec<String> =
                    point.files.iter().map(|file| file.0.to_string()).collect();
                format!("{}: {}", point.name, files.join(" "))
            })
            .collect()
    }

    #[test]
    fn two_rings_in_one_directory_are_two_points() {
        assert_eq!(
            points(&["b.pcap1", "a.pcap0", "b.pcap0", "a.pcap1"], &[]),
            ["a: 1 3", "b: 0 2"]
        );
    }

    #[test]
    fn rings_of_one_name_are_told_apart_by_their_directories() {
        assert_eq!(
            points(&["n1/dns.pcap0", "n2/dns.pcap0", "dns.pcap", "n2/x.pcap"], &[]),
            ["./dns: 2", "n1/dns: 0", "n2/dns: 1", "x: 3"]
        );
    }

    #[test]
    fn a_named_point_overrides_names() {
        assert_eq!(
            points(
                &["n1/dns.pcap0", "n2/dns.pcap0", "n1/other.pcap"],
                &[("node1", "n1/*"), ("late", "*other*")]
            ),
            ["dns: 1", "node1: 0 2"]
        );
    }

    #[test]
    fn a_pattern_that_is_none_is_refused_by_name() {
        let error = Rules::parse(&[("node".to_owned(), "***".to_owned())]);
        let message = error.err().unwrap().to_string();
        assert!(message.starts_with("the pattern '***' of capture point 'node'"));
    }
}
