//! The languages of reports, and their catalogues.
//!
//! English stands in the code. The other languages are gettext catalogues in `locales/`, read
//! when first asked for; a message that one lacks is said in English.

use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;

use polib::po_file::parse_from_reader;

/// A language that reports can be written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Lang {
    /// English, in which everything is written first.
    #[default]
    En,
    /// Chinese, in simplified characters.
    Zh,
}

/// The Chinese catalogue, by area.
const ZH: [&str; 4] = [
    include_str!("../../locales/zh/report.po"),
    include_str!("../../locales/zh/explain.po"),
    include_str!("../../locales/zh/capture.po"),
    include_str!("../../locales/zh/rules.po"),
];

/// Translations by context and message.
type Catalogue = HashMap<(String, String), String>;

static ZH_CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| catalogue(&ZH));

impl Lang {
    /// All of them, with their codes.
    pub const ALL: [(Self, &'static str); 2] = [(Self::En, "en"), (Self::Zh, "zh")];

    /// The code of BCP 47, as in the `lang` of a page.
    pub fn code(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Zh => "zh",
        }
    }

    /// What stands between clauses where English has `between`; sentences of Chinese need no space.
    pub(super) fn between(self, between: &str) -> &str {
        match (self, between) {
            (Self::Zh, " ") | (_, "") => "",
            _ => self.translate(super::text::JOINED, between),
        }
    }

    /// `message` in this language, or itself where there is no translation.
    pub fn translate<'m>(self, context: &str, message: &'m str) -> &'m str {
        let catalogue = match self {
            Self::En => return message,
            Self::Zh => &*ZH_CATALOGUE,
        };
        let key = (context.to_owned(), message.to_owned());
        catalogue.get(&key).map_or(message, String::as_str)
    }
}

impl fmt::Display for Lang {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// The translated messages of some files; what is no catalogue is left out, and a test sees it.
fn catalogue(files: &[&str]) -> Catalogue {
    let parsed = files.iter().filter_map(|file| parse_from_reader(file.as_bytes()).ok());
    let mut all = Catalogue::new();
    for catalog in parsed {
        for message in catalog.messages() {
            if let Ok(text) = message.msgstr()
                && !text.is_empty()
            {
                let key =
                    (message.msgctxt().unwrap_or_default().to_owned(), message.msgid().to_owned());
                all.insert(key, text.to_owned());
            }
        }
    }
    all
}
