//! The catalogues of messages: all that people read is in `locales/en`, and in every other language.
//!
//! `locales/en/*.pot` is what the sources say, found by reading them: the messages of `text!`, the
//! nouns of `count`, the titles of rules. `locales/zh/*.po` has the same messages with their
//! translations. After a change of words, run with `UPDATE_GOLDEN=1`: it writes the first and adds
//! to the second what has no translation yet, for somebody to fill in.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use dnswhy::base::Lang;
use dnswhy::base::text::{BETWEEN, COUNTED, JOINED, LIST, LISTED, placeholders};
use dnswhy::report::translated_from;
use polib::catalog::Catalog;
use polib::message::{Message, MessageView};
use polib::metadata::CatalogMetadata;
use polib::po_file;
use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use syn::LitStr;

/// The files of a catalogue, and the sources whose messages each has. A message of several goes to
/// the first; what is in none of these folders goes to the first as well.
const AREAS: [(&str, &[&str]); 4] = [
    ("report", &["src/base", "src/report"]),
    ("explain", &["src/report/explain"]),
    ("capture", &["src/analysis", "src/capture", "src/packet"]),
    ("rules", &["src/detect"]),
];

/// A message: its context and its English.
type Key = (String, String);

#[test]
fn the_english_catalogue_is_what_the_sources_say() {
    let said = said();
    for (area, _) in AREAS {
        let path = locale(Lang::En, area);
        let written = template(&said, area);
        if updating() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &written).unwrap();
        }
        let known = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            known == written,
            "{} is not what the sources say; UPDATE_GOLDEN=1 cargo test --test lang takes it over",
            path.display()
        );
    }
}

#[test]
fn every_language_has_every_message_and_no_other() {
    let said = said();
    for (lang, _) in Lang::ALL.iter().filter(|(lang, _)| *lang != Lang::En) {
        if updating() {
            merge(*lang, &said);
        }
        let mut missing: Vec<String> = Vec::new();
        for (area, _) in AREAS {
            let path = locale(*lang, area);
            let mut known = translations(&path);
            for ((context, message), _) in
                said.iter().filter(|(_, sources)| area_of(sources) == area)
            {
                let entry = known.remove(&(context.clone(), message.clone()));
                let problem = match entry.as_deref() {
                    None => Some("is missing"),
                    Some("") => Some("has no translation"),
                    Some(text) => (slots(context, message) != slots("", text))
                        .then_some("has other placeholders than its English"),
                };
                let name = path.file_name().unwrap().to_string_lossy();
                missing.extend(
                    problem.map(|problem| format!("locales/{lang}/{name}: {message:?} {problem}")),
                );
            }
            let name = path.file_name().unwrap().to_string_lossy();
            missing.extend(known.keys().map(|(_, message)| {
                format!("locales/{lang}/{name}: {message:?} is said nowhere any more")
            }));
        }
        missing.sort();
        assert!(
            missing.is_empty(),
            "\n{}\n\nUPDATE_GOLDEN=1 cargo test --test lang adds an entry for each message and takes \
             away the others; then fill in each msgstr \"\"",
            missing.join("\n")
        );
    }
}

/// A translation that was redone is marked so: `TRANSLATED=<rule id>` (or `all`).
#[test]
fn every_explanation_is_translated_from_the_english_that_there_is() {
    let network = dnswhy::detect::ALL.iter().map(|rule| (rule.id, rule.explanation()));
    let capture = dnswhy::analysis::CAPTURE_RULES.iter();
    let capture = capture.map(|rule| (rule.id, rule.explanation()));
    let redone = std::env::var("TRANSLATED").unwrap_or_default();
    let mut problems: Vec<String> = Vec::new();
    for (id, english) in network.chain(capture) {
        let file = format!("locales/zh/rules/{id}.md");
        let digest = &blake3::hash(english.as_bytes()).to_hex()[..16];
        if redone == id || redone == "all" {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(&file);
            let text = fs::read_to_string(&path).unwrap();
            let docs = text.split_once('\n').map_or("", |(_, docs)| docs);
            fs::write(&path, format!("<!-- english: {digest} -->\n{docs}")).unwrap();
            continue;
        }
        match translated_from(id, Lang::Zh) {
            None => problems.push(format!("{file} is missing, or not in src/report/explanations.rs")),
            Some((_, docs)) if docs.trim().is_empty() => problems.push(format!("{file} is empty")),
            Some((of, _)) if of != digest => problems.push(format!(
                "{file} says what the rule said before: redo it, then TRANSLATED={id} cargo test --test lang"
            )),
            Some(_) => {}
        }
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn messages_are_found_wherever_they_stand() {
    let mut found = Found::default();
    found.read(
        "
        use crate::base::words::{count, text};
        fn f() { text!(\"a {b} \\
             c\", b = if x { text!(\" d\") } else { Text::EMPTY }); }
        fn g() { list.count(); count(list(1, 2), \"lost query\") }
        #[cfg(test)]
        mod tests { fn h() { text!(\"not this\") } }
        ",
        "src/report/x.rs",
    );
    let keys: Vec<(&str, &str)> =
        found.messages.keys().map(|(context, id)| (context.as_str(), id.as_str())).collect();
    assert_eq!(keys, [("", " d"), ("", "a {b} c"), ("count", "lost query")]);
    assert!(found.problems.is_empty(), "{:?}", found.problems);
    found.read("use crate::base::words::count; fn f() { count(n, noun) }", "src/report/y.rs");
    assert_eq!(found.problems.len(), 1);
}

/// What the sources say.
fn said() -> BTreeMap<Key, BTreeSet<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    read_into(&root.join("src"), &mut files);
    files.sort();
    let mut found = Found::default();
    for path in files {
        let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).unwrap();
        if is_a(&path, "html") {
            // What a template calls stands between double braces.
            for (_, call) in text.split("{{").enumerate().skip(1) {
                found.read(call.split("}}").next().unwrap_or_default(), &name);
            }
        } else {
            found.read(&text, &name);
        }
    }
    let network = dnswhy::detect::ALL.iter().map(|rule| (rule.title, "src/detect/rules"));
    let capture = dnswhy::analysis::CAPTURE_RULES.iter();
    let capture = capture.map(|rule| (rule.title, "src/analysis/health"));
    for (title, source) in network.chain(capture) {
        found.message("", title, source);
    }
    for between in BETWEEN.iter().filter(|between| !between.trim().is_empty()) {
        found.message(JOINED, between, "src/base/text.rs");
    }
    for listed in LIST {
        found.message(LISTED, listed, "src/base/text.rs");
    }
    assert!(found.problems.is_empty(), "\n{}", found.problems.join("\n"));
    found.messages
}

fn is_a(path: &Path, ending: &str) -> bool {
    path.extension().is_some_and(|extension| extension == ending)
}

/// Sources, without what only tests see.
fn read_into(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !matches!(name.as_str(), "testkit" | "tests") {
                read_into(&path, files);
            }
        } else if is_a(&path, "rs") || is_a(&path, "html") {
            files.push(path);
        }
    }
}

/// Messages with the files that say them.
#[derive(Default)]
struct Found {
    messages: BTreeMap<Key, BTreeSet<String>>,
    problems: Vec<String>,
    /// Whether the file read now can mean the `count` of `base::words`.
    counts: bool,
}

impl Found {
    fn read(&mut self, source: &str, file: &str) {
        match source.parse::<TokenStream>() {
            Ok(tokens) => {
                self.counts = source.contains("words::");
                self.tokens(tokens, file);
            }
            Err(error) => self.problems.push(format!("{file}: {error}")),
        }
    }

    fn message(&mut self, context: &str, message: &str, file: &str) {
        let mut rest = message.to_owned();
        for name in placeholders(message) {
            rest = rest.replace(&format!("{{{name}}}"), "");
        }
        // Numbers and paths read the same everywhere; each language has punctuation of its own.
        let own = |c: char| c.is_alphabetic() || ",;:()%.".contains(c);
        if context.is_empty() && !rest.chars().any(own) {
            return;
        }
        let key = (context.to_owned(), message.to_owned());
        self.messages.entry(key).or_default().insert(file.to_owned());
    }

    fn tokens(&mut self, tokens: TokenStream, file: &str) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            let before = at.checked_sub(1).and_then(|at| tokens.get(at));
            match (&tokens[at], tokens.get(at + 1), tokens.get(at + 2)) {
                (TokenTree::Punct(hash), Some(TokenTree::Group(attribute)), _)
                    if hash.as_char() == '#' && is_of_tests(attribute) =>
                {
                    let ends = |token: &TokenTree| match token {
                        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
                        TokenTree::Punct(punct) => punct.as_char() == ';',
                        _ => false,
                    };
                    at += 1 + tokens[at..].iter().position(ends).unwrap_or(tokens.len());
                    continue;
                }
                (
                    TokenTree::Ident(name),
                    Some(TokenTree::Punct(bang)),
                    Some(TokenTree::Group(call)),
                ) if name == "text" && bang.as_char() == '!' => {
                    match call.stream().into_iter().next().and_then(literal) {
                        Some(message) => self.message("", &message, file),
                        None => self.problems.push(format!("{file}: text! without a literal")),
                    }
                }
                (TokenTree::Ident(name), Some(TokenTree::Group(call)), _)
                    if self.counts && name == "count" && is_call(call, before) =>
                {
                    match call.stream().into_iter().filter(|token| !is_comma(token)).last() {
                        Some(noun) if literal(noun.clone()).is_some() => {
                            self.message(COUNTED, &literal(noun).unwrap(), file);
                        }
                        _ => self.problems.push(format!("{file}: give `count` a literal noun")),
                    }
                }
                _ => {}
            }
            if let Some(TokenTree::Group(group)) = tokens.get(at) {
                self.tokens(group.stream(), file);
            }
            at += 1;
        }
    }
}

/// Whether it is `count(…)` with something in it, neither a method nor a definition.
fn is_call(call: &Group, before: Option<&TokenTree>) -> bool {
    let free = match before {
        Some(TokenTree::Punct(punct)) => !matches!(punct.as_char(), '.' | ':'),
        Some(TokenTree::Ident(ident)) => ident != "fn",
        _ => true,
    };
    free && call.delimiter() == Delimiter::Parenthesis
        && call.stream().into_iter().filter(is_comma).count() > 0
}

fn is_comma(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == ',')
}

fn is_of_tests(attribute: &Group) -> bool {
    attribute.stream().to_string().replace(' ', "") == "cfg(test)"
}

fn literal(token: TokenTree) -> Option<String> {
    let text: LitStr = syn::parse2(TokenStream::from(token)).ok()?;
    Some(text.value())
}

fn updating() -> bool {
    std::env::var_os("UPDATE_GOLDEN").is_some()
}

fn locale(lang: Lang, area: &str) -> PathBuf {
    let ending = if lang == Lang::En { "pot" } else { "po" };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join(format!("locales/{lang}/{area}.{ending}"))
}

/// The file that a message of these sources stands in: the first area that has one of them.
fn area_of(sources: &BTreeSet<String>) -> &'static str {
    let folder = |source: &str| {
        let areas = AREAS.iter().flat_map(|(area, folders)| folders.iter().map(move |f| (area, f)));
        let holding = areas.filter(|(_, folder)| source.starts_with(**folder));
        holding.max_by_key(|(_, folder)| folder.len()).map_or(AREAS[0].0, |(area, _)| *area)
    };
    let of: BTreeSet<&str> = sources.iter().map(|source| folder(source)).collect();
    AREAS.iter().map(|(area, _)| *area).find(|area| of.contains(area)).unwrap_or(AREAS[0].0)
}

fn catalog(language: &str) -> Catalog {
    let metadata = CatalogMetadata {
        project_id_version: "dnswhy".to_owned(),
        mime_version: "1.0".to_owned(),
        content_type: "text/plain; charset=UTF-8".to_owned(),
        content_transfer_encoding: "8bit".to_owned(),
        language: language.to_owned(),
        ..CatalogMetadata::new()
    };
    Catalog::new(metadata)
}

fn entry((context, message): &Key, sources: &BTreeSet<String>, text: &str) -> Message {
    let mut entry = Message::build_singular();
    if !context.is_empty() {
        entry.with_msgctxt(context.clone());
    }
    if context == COUNTED {
        entry.with_extracted_comments("a noun behind a number, which {n} stands for".to_owned());
    }
    let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
    entry.with_source(sources.join("\n"));
    entry.with_msgid(message.clone()).with_msgstr(text.to_owned()).done()
}

fn written(catalog: &Catalog) -> String {
    let mut out = std::io::BufWriter::new(Vec::new());
    po_file::write(catalog, &mut out).unwrap();
    String::from_utf8(out.into_inner().unwrap()).unwrap()
}

/// The messages of one area without translations, in the order of their sources.
fn template(said: &BTreeMap<Key, BTreeSet<String>>, area: &str) -> String {
    let mut catalog = catalog("");
    for (key, sources) in ordered(said, area) {
        catalog.append_or_update(entry(key, sources, ""));
    }
    written(&catalog)
}

fn ordered<'s>(
    said: &'s BTreeMap<Key, BTreeSet<String>>,
    area: &str,
) -> Vec<(&'s Key, &'s BTreeSet<String>)> {
    let mut all: Vec<_> = said.iter().filter(|(_, sources)| area_of(sources) == area).collect();
    all.sort_by_key(|(key, sources)| (sources.first().cloned(), *key));
    all
}

/// The translations of one file.
fn translations(path: &Path) -> BTreeMap<Key, String> {
    let Ok(text) = fs::read(path) else { return BTreeMap::new() };
    let catalog = po_file::parse_from_reader(text.as_slice()).unwrap();
    let entry = |message: &dyn MessageView| {
        let key = (message.msgctxt().unwrap_or_default().to_owned(), message.msgid().to_owned());
        (key, message.msgstr().unwrap().to_owned())
    };
    catalog.messages().map(entry).collect()
}

/// Writes the catalogues of `lang` with the messages that there are, translations kept.
fn merge(lang: Lang, said: &BTreeMap<Key, BTreeSet<String>>) {
    let known: BTreeMap<Key, String> =
        AREAS.iter().flat_map(|(area, _)| translations(&locale(lang, area))).collect();
    for (area, _) in AREAS {
        let mut catalog = catalog(lang.code());
        for (key, sources) in ordered(said, area) {
            let text = known.get(key).map_or("", String::as_str);
            catalog.append_or_update(entry(key, sources, text));
        }
        fs::write(locale(lang, area), written(&catalog)).unwrap();
    }
}

/// The placeholders of a message, however often each stands there.
fn slots(context: &str, message: &str) -> BTreeSet<String> {
    if context == COUNTED {
        return BTreeSet::from(["n".to_owned()]);
    }
    placeholders(message).into_iter().collect()
}
