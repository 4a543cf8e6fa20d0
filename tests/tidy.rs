//! The shape of the source tree, held to `Layers` and `Habits` of the house style: imports point
//! one way, every detector is registered, no file outgrows its reason.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A layer may use what stands before it; `dns` may use `base` alone.
const LAYERS: [&str; 14] = [
    "base",
    "capture",
    "packet",
    "dns",
    "flow",
    "transaction",
    "lookup",
    "detect",
    "incident",
    "analysis",
    "report",
    "archive",
    "testkit",
    "cli",
];
/// Lines of a file, those of tests not counted.
const LONGEST: usize = 600;

#[test]
fn layers_import_only_what_stands_above_them() {
    let problems: Vec<String> = sources().iter().flat_map(upward_imports).collect();
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn no_file_outgrows_its_reason() {
    let long: Vec<String> = sources()
        .iter()
        .map(|source| (source, source.code.trim_end().lines().count()))
        .filter(|(_, lines)| *lines > LONGEST)
        .map(|(source, lines)| format!("{}: {lines} lines", source.path))
        .collect();
    assert!(long.is_empty(), "over {LONGEST} lines: {long:?}");
}

#[test]
fn every_detector_is_registered_once_with_its_sources() {
    let detect: Vec<Source> =
        sources().into_iter().filter(|source| source.path.starts_with("src/detect/")).collect();
    let problems = detector_problems(&detect);
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn an_upward_import_is_found() {
    let imports = |path: &str, text: &str| upward_imports(&Source::new(path, text));
    let text = "//! crate::cli in a comment\nuse crate::{\n    base::Span,\n    lookup::{Lookup, Step},\n};\n";
    assert_eq!(imports("src/flow/table.rs", text), ["src/flow/table.rs:4: flow imports lookup"]);
    assert_eq!(imports("src/report/text.rs", text), [""; 0]);
    assert_eq!(
        imports("src/dns/name.rs", "fn f() -> crate::capture::Seen {}"),
        ["src/dns/name.rs:1: dns imports capture"]
    );
    assert_eq!(
        imports("src/flow/table.rs", "use super::super::cli::run;"),
        ["src/flow/table.rs:1: flow imports cli"]
    );
    assert_eq!(
        imports("src/flow/table.rs", "use crate::Everything;"),
        ["src/flow/table.rs:1: crate::Everything is in no layer"]
    );
    let in_test = "#[cfg(test)]\nmod tests {\n    use crate::testkit::Scenario;\n}\nfn f(c: char) { c == '{'; }";
    assert_eq!(imports("src/flow/table.rs", in_test), [""; 0]);
    let behind = format!("{in_test}\nuse crate::testkit::Scenario;");
    assert_eq!(
        imports("src/flow/table.rs", &behind),
        ["src/flow/table.rs:6: flow imports testkit"]
    );
    assert_eq!(imports("src/main.rs", "use dnswhy::cli;"), [""; 0]);
    assert_eq!(
        imports("src/main.rs", "dnswhy::report::write();"),
        ["src/main.rs:1: main imports report"]
    );
    assert_eq!(imports("src/helpers.rs", ""), ["src/helpers.rs:1: helpers is no layer"]);
}

#[test]
fn a_stray_detector_is_found() {
    let rule = |stem: &str, id: &str, references: &str| {
        Source::new(
            &format!("src/detect/rules/{stem}.rs"),
            &format!(
                "pub static DETECTOR: Descriptor = Descriptor {{ id: \"{id}\", references: &[{references}] }};"
            ),
        )
    };
    let all = Source::new(
        "src/detect/rules/mod.rs",
        "mod a; mod b; pub static ALL: &[&Descriptor] = &[&a::DETECTOR, &b::DETECTOR];",
    );
    let sound = [all, rule("a", "one", "\"RFC 1035\""), rule("b", "two", "\"RFC 2308\"")];
    assert_eq!(detector_problems(&sound), [""; 0]);
    let [all, ..] = sound;
    let wrong = [all, rule("a", "one", ""), rule("c", "one", "\"RFC 2308\"")];
    assert_eq!(
        detector_problems(&wrong),
        [
            "src/detect/rules/a.rs: no references",
            "src/detect/rules/c.rs: c::DETECTOR is not in ALL",
            "src/detect/rules/c.rs: the id one is taken",
        ]
    );
}

/// A file of the tree, what only tests see left out.
struct Source {
    path: String,
    /// Without comments; layout and line numbers kept.
    text: String,
    /// Without strings either.
    code: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        let blank = blanked(text, false);
        let tests = test_items(&blank);
        let without_tests = |text: &str| {
            let mut bytes = text.as_bytes().to_vec();
            for (start, end) in &tests {
                bytes[*start..*end]
                    .iter_mut()
                    .filter(|byte| **byte != b'\n')
                    .for_each(|byte| *byte = b' ');
            }
            String::from_utf8(bytes).expect("whole characters are blanked")
        };
        // Tests stand at the end: what follows the last line of code is not counted either.
        Self {
            path: path.to_owned(),
            text: without_tests(&blanked(text, true)),
            code: without_tests(&blank),
        }
    }

    fn layer(&self) -> &str {
        let inner = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        inner.split('/').next().unwrap_or(inner)
    }

    fn line_of(&self, offset: usize) -> usize {
        1 + self.code[..offset].matches('\n').count()
    }
}

/// Every file under src, without those that are modules of tests.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = BTreeMap::new();
    read_into(&root.join("src"), &mut files);
    let of_tests: Vec<PathBuf> =
        files.iter().flat_map(|(path, text)| test_modules(path, text)).collect();
    let is_test =
        |path: &Path| of_tests.iter().any(|module| path.with_extension("").starts_with(module));
    files
        .iter()
        .filter(|(path, _)| !is_test(path))
        .map(|(path, text)| {
            let relative = path.strip_prefix(root).expect("below the root");
            Source::new(&relative.to_string_lossy(), text)
        })
        .collect()
}

fn read_into(folder: &Path, files: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            read_into(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a readable file");
            files.insert(path, text);
        }
    }
}

/// The modules that `#[cfg(test)] mod NAME;` declares, as paths without extension.
fn test_modules(path: &Path, text: &str) -> Vec<PathBuf> {
    let folder = match path.file_stem().and_then(|stem| stem.to_str()) {
        Some("mod" | "lib" | "main") => path.with_file_name(""),
        _ => path.with_extension(""),
    };
    let blank = blanked(text, false);
    let items = test_items(&blank).into_iter().map(|(start, end)| &blank[start..end]);
    items
        .filter_map(|item| item.strip_suffix(';')?.rsplit_once("mod "))
        .map(|(_, name)| folder.join(name.trim()))
        .collect()
}

/// Where items that only tests see begin and end: from `#[cfg(test)]` to the item's last brace
/// or semicolon.
fn test_items(code: &str) -> Vec<(usize, usize)> {
    let mut found: Vec<(usize, usize)> = Vec::new();
    for (start, _) in code.match_indices("#[cfg(test)]") {
        if found.last().is_some_and(|(_, end)| start < *end) {
            continue;
        }
        let mut depth = 0_usize;
        let end = code[start..].char_indices().find_map(|(n, c)| {
            match c {
                '{' => depth += 1,
                '}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            (depth == 0 && matches!(c, '}' | ';')).then_some(start + n + 1)
        });
        found.push((start, end.unwrap_or(code.len())));
    }
    found
}

/// `text` with comments, characters and (unless kept) strings turned into spaces.
fn blanked(text: &str, keep_strings: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (length, keep) = match token(rest) {
            Some((length, is_string)) => (length, is_string && keep_strings),
            None => (first.len_utf8(), true),
        };
        let (piece, tail) = rest.split_at(length);
        if keep {
            out.push_str(piece);
        } else {
            out.extend(piece.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }));
        }
        rest = tail;
    }
    out
}

/// The length of the comment, string or character that `rest` begins with, and whether it is a
/// string.
fn token(rest: &str) -> Option<(usize, bool)> {
    if rest.starts_with("//") {
        return Some((rest.find('\n').unwrap_or(rest.len()), false));
    }
    if rest.starts_with("/*") {
        return Some((rest.find("*/").map_or(rest.len(), |end| end + 2), false));
    }
    if let Some(raw) = rest.strip_prefix("r").filter(|raw| raw.starts_with(['#', '"'])) {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        let body = raw[hashes..].strip_prefix('"')?;
        let close = format!("\"{}", "#".repeat(hashes));
        let end = body.find(&close).map_or(body.len(), |end| end + close.len());
        return Some((rest.len() - body.len() + end, true));
    }
    if let Some(text) = rest.strip_prefix('"') {
        let mut escaped = false;
        let end = text.char_indices().find(|(_, c)| {
            let closes = *c == '"' && !escaped;
            escaped = *c == '\\' && !escaped;
            closes
        });
        return Some((end.map_or(rest.len(), |(n, _)| n + 2), true));
    }
    // A lifetime has no second quote behind its first character.
    let quoted = rest.strip_prefix('\'')?;
    let first = quoted.chars().next()?;
    let inner = if first == '\\' { 2 + quoted.get(2..)?.find('\'')? } else { first.len_utf8() };
    let closed = quoted.get(inner..)?.starts_with('\'');
    closed.then_some((inner + 2, false))
}

/// Complaints about one file, with line numbers.
fn upward_imports(source: &Source) -> Vec<String> {
    let layer = source.layer();
    let root = match layer {
        "lib" => return Vec::new(),
        "main" => "dnswhy::",
        _ => "crate::",
    };
    let own = LAYERS.iter().position(|name| *name == layer);
    if own.is_none() && layer != "main" {
        return vec![format!("{}:1: {layer} is no layer", source.path)];
    }
    let mut problems = Vec::new();
    for (offset, name) in imported(&source.code, root) {
        let at = format!("{}:{}", source.path, source.line_of(offset));
        let Some(target) = LAYERS.iter().position(|known| *known == name) else {
            problems.push(format!("{at}: crate::{name} is in no layer"));
            continue;
        };
        let allowed = match layer {
            "main" => name == "cli",
            "dns" => matches!(name, "base" | "dns"),
            _ => own.is_some_and(|own| target <= own),
        };
        if !allowed {
            problems.push(format!("{at}: {layer} imports {name}"));
        }
    }
    problems
}

/// Every name that stands right below the crate's root in a path, with its offset.
fn imported<'a>(code: &'a str, root: &str) -> Vec<(usize, &'a str)> {
    let mut found = Vec::new();
    for prefix in [root, "super::super::"] {
        for (start, _) in code.match_indices(prefix) {
            let start = start + prefix.len();
            if code[start..].starts_with('{') {
                found.extend(group(code, start + 1));
            } else if prefix == root || LAYERS.contains(&identifier(&code[start..])) {
                found.push((start, identifier(&code[start..])));
            }
        }
    }
    found.sort_unstable();
    found
}

/// The names at the top of a `{…}` group that begins at `start`.
fn group(code: &str, start: usize) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut depth = 1_usize;
    let mut fresh = true;
    for (n, c) in code[start..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' => fresh |= depth == 1,
            c if fresh && !c.is_whitespace() => {
                found.push((start + n, identifier(&code[start + n..])));
                fresh = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    found
}

fn identifier(code: &str) -> &str {
    let end = code.find(|c: char| !c.is_alphanumeric() && c != '_');
    &code[..end.unwrap_or(code.len())]
}

/// Complaints about the files under src/detect: a descriptor is a `static NAME: Descriptor` of a
/// file under rules/.
fn detector_problems(detect: &[Source]) -> Vec<String> {
    let registered: String =
        detect.iter().filter_map(|source| list_called_all(&source.code)).collect();
    let mut problems = Vec::new();
    let mut ids = BTreeSet::new();
    for source in detect.iter().filter(|source| source.path.contains("/rules/")) {
        let stem = source.path.rsplit('/').next().unwrap_or_default().trim_end_matches(".rs");
        let statics = source.code.match_indices(": Descriptor =");
        let names = statics.filter_map(|(at, _)| source.code[..at].rsplit([' ', '\n']).next());
        for name in names {
            let entry = format!("{stem}::{name}");
            let is_it = |word: &str| word == entry || word.ends_with(&format!("::{entry}"));
            if !registered.split([',', '&', ' ', '\n', '[']).any(is_it) {
                problems.push(format!("{}: {entry} is not in ALL", source.path));
            }
        }
        for (at, _) in source.text.match_indices("id: \"") {
            let id = source.text[at..].split('"').nth(1).unwrap_or_default();
            if !ids.insert(id) {
                problems.push(format!("{}: the id {id} is taken", source.path));
            }
        }
        let squeezed: String = source.text.split_whitespace().collect();
        if squeezed.contains("references:&[]") {
            problems.push(format!("{}: no references", source.path));
        }
    }
    problems
}

/// What stands between `ALL` and the end of its list.
fn list_called_all(code: &str) -> Option<&str> {
    let (_, list) = code.split_once(" ALL:")?;
    Some(list.split_once("];").map_or(list, |(list, _)| list))
}

/// The README's list of rules is the registry's; `UPDATE_GOLDEN=1` writes it anew.
#[test]
fn the_readme_lists_every_rule() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (before, rest) = text.split_once("<!-- rules -->\n").unwrap();
    let (listed, after) = rest.split_once("<!-- /rules -->").unwrap();
    let mut rules = String::from("| rule | what it says |\n| --- | --- |\n");
    for rule in dnswhy::detect::ALL {
        rules.push_str("| `");
        rules.push_str(rule.id);
        rules.push_str("` | ");
        rules.push_str(rule.title);
        rules.push_str(" |\n");
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let whole = format!("{before}<!-- rules -->\n{rules}<!-- /rules -->{after}");
        std::fs::write(path, whole).unwrap();
        return;
    }
    assert_eq!(listed, rules, "the list of rules in README.md is not that of the registry");
}
