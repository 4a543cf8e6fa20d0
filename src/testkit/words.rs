//! The words of one line: what is said, and how it travels.

use std::iter::Peekable;

use super::packets::IcmpKind;
use super::rdata::{class, name, record, record_type};
use super::tcp::Control;
use super::token::{hex, nanos, number};
use super::view::{Place, Route};
use super::wire::{Edns, MessageSpec, Question};

/// One line, understood.
#[derive(Debug, Clone)]
pub(super) struct Saying {
    pub(super) what: What,
    pub(super) carriage: Carriage,
    pub(super) route: Route,
    /// The backend, by name.
    pub(super) via: Option<String>,
}

/// What is said.
#[derive(Debug, Clone)]
pub(super) enum What {
    Message(Spoken),
    Raw(Vec<u8>),
    Control(Control),
    Icmp {
        kind: IcmpKind,
        /// The line it quotes; the latest datagram the other way if absent.
        line: Option<u32>,
        from: Option<String>,
    },
}

/// A message as far as the line itself determines it.
#[derive(Debug, Clone, Default)]
pub(super) struct Spoken {
    pub(super) spec: MessageSpec,
    pub(super) id: Option<u16>,
    pub(super) no_question: bool,
}

/// How it travels.
#[derive(Debug, Clone, Default)]
pub(super) struct Carriage {
    pub(super) tcp: bool,
    pub(super) again: bool,
    pub(super) lost: bool,
    pub(super) split: Option<usize>,
    pub(super) cut: Option<usize>,
    pub(super) fragments: usize,
    pub(super) captured: Option<usize>,
    pub(super) ip_id: Option<u16>,
    pub(super) ttl: Option<u8>,
    pub(super) stamped: Option<i64>,
}

impl Saying {
    /// Understands `words`; the id grows by `id_shift`.
    pub(super) fn parse(words: &[String], id_shift: u16) -> Result<Self, String> {
        let mut reader = Reader::default();
        let mut words = words.iter().map(String::as_str).peekable();
        while let Some(word) = words.next() {
            if !reader.carriage(word, &mut words)?
                && !reader.body(word, &mut words)?
                && !reader.header(word, &mut words)?
            {
                reader.content(word, &mut words)?;
            }
        }
        let mut spoken = reader.spoken;
        spoken.id = spoken.id.map(|id| id.wrapping_add(id_shift));
        if let (Some(question), Some(class)) = (&mut spoken.spec.question, reader.class) {
            question.class = class;
        }
        Ok(Self {
            what: reader.what.unwrap_or(What::Message(spoken)),
            carriage: reader.carriage,
            route: reader.route,
            via: reader.via,
        })
    }
}

#[derive(Default)]
struct Reader {
    what: Option<What>,
    spoken: Spoken,
    class: Option<u16>,
    section: Section,
    carriage: Carriage,
    route: Route,
    via: Option<String>,
}

#[derive(Default, Clone, Copy)]
enum Section {
    #[default]
    Answer,
    Authority,
    Additional,
}

impl Reader {
    fn carriage<'a>(
        &mut self,
        word: &str,
        words: &mut Peekable<impl Iterator<Item = &'a str>>,
    ) -> Result<bool, String> {
        let mut next = || words.next().ok_or_else(|| format!("{word} what?"));
        let carriage = &mut self.carriage;
        match word {
            "again" => carriage.again = true,
            "lost" => carriage.lost = true,
            "split" => carriage.split = Some(number(next()?)?),
            "cut" => carriage.cut = Some(number(next()?)?),
            "fragment" => carriage.fragments = number(next()?)?,
            "alone" => carriage.captured = Some(1),
            "ipid" => carriage.ip_id = Some(number(next()?)?),
            "ttl" => carriage.ttl = Some(number(next()?)?),
            "stamped" => carriage.stamped = Some(nanos(next()?)?),
            "via" => self.via = Some(next()?.to_owned()),
            "until" => self.route.until = Some(Place::named(next()?)?),
            "since" => self.route.since = Some(Place::named(next()?)?),
            "otherhost" => self.route.other_host = true,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// What replaces a message, and TCP.
    fn body<'a>(
        &mut self,
        word: &str,
        words: &mut Peekable<impl Iterator<Item = &'a str>>,
    ) -> Result<bool, String> {
        match word {
            "tcp" => {
                self.carriage.tcp = true;
                if let Some(control) = words.peek().copied().and_then(Control::named) {
                    words.next();
                    self.what = Some(What::Control(control));
                }
            }
            "raw" => self.what = Some(What::Raw(hex(words.next().unwrap_or_default())?)),
            "icmp" => {
                let kind = words.next().unwrap_or_default();
                let kind = IcmpKind::named(kind).ok_or_else(|| format!("no ICMP kind: {kind}"))?;
                let line = words.peek().and_then(|word| word.parse().ok());
                if line.is_some() {
                    words.next();
                }
                let from = words.next_if_eq(&"from").and_then(|_| words.next()).map(str::to_owned);
                self.what = Some(What::Icmp { kind, line, from });
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Header fields and EDNS.
    fn header<'a>(
        &mut self,
        word: &str,
        words: &mut Peekable<impl Iterator<Item = &'a str>>,
    ) -> Result<bool, String> {
        let mut next = || words.next().ok_or_else(|| format!("{word} what?"));
        let spec = &mut self.spoken.spec;
        match word {
            "id" => {
                let id = next()?;
                let id = u16::from_str_radix(id, 16).map_err(|_| format!("no id: {id}"))?;
                self.spoken.id = Some(id);
            }
            "aa" => spec.flags |= 0x0400,
            "tc" => spec.flags |= 0x0200,
            "rd" => spec.flags |= 0x0100,
            "ra" => spec.flags |= 0x0080,
            "ad" => spec.flags |= 0x0020,
            "cd" => spec.flags |= 0x0010,
            "edns" => spec.edns.get_or_insert_default().udp_size = number(next()?)?,
            "do" => spec.edns.get_or_insert_default().dnssec_ok = true,
            "cookie" => spec.edns.get_or_insert_default().cookie = true,
            "ede" => spec.edns.get_or_insert_default().extended_error = Some(number(next()?)?),
            "opcode" => {
                let mnemonic = next()?;
                spec.opcode = opcode(mnemonic).ok_or_else(|| format!("no opcode: {mnemonic}"))?;
            }
            "class" => {
                let mnemonic = next()?;
                self.class = Some(class(mnemonic).ok_or_else(|| format!("no class: {mnemonic}"))?);
            }
            "noquestion" => self.spoken.no_question = true,
            _ => {
                let Some(rcode) = rcode(word) else {
                    return Ok(false);
                };
                spec.rcode = rcode;
                if rcode > 15 {
                    spec.edns.get_or_insert_with(Edns::default);
                }
            }
        }
        Ok(true)
    }

    /// The question, and records.
    fn content<'a>(
        &mut self,
        word: &str,
        words: &mut Peekable<impl Iterator<Item = &'a str>>,
    ) -> Result<(), String> {
        let spec = &mut self.spoken.spec;
        match word {
            "?" | ";" => {}
            "auth" => self.section = Section::Authority,
            "add" => self.section = Section::Additional,
            owner if words.peek().is_some_and(|word| word.parse::<u32>().is_ok()) => {
                let record = record(owner, words)?;
                match self.section {
                    Section::Answer => spec.answers.push(record),
                    Section::Authority => spec.authorities.push(record),
                    Section::Additional => spec.additionals.push(record),
                }
            }
            other => {
                let rtype = record_type(other).ok_or_else(|| format!("unknown word: {other}"))?;
                let name = name(words.next().ok_or("a question without a name")?)?;
                let class = 1;
                spec.question = Some(Question { name, rtype, class });
            }
        }
        Ok(())
    }
}

fn opcode(word: &str) -> Option<u8> {
    Some(match word {
        "QUERY" => 0,
        "IQUERY" => 1,
        "STATUS" => 2,
        "NOTIFY" => 4,
        "UPDATE" => 5,
        "DSO" => 6,
        number => number.parse().ok().filter(|&n| n < 16)?,
    })
}

fn rcode(word: &str) -> Option<u16> {
    const NAMES: [&str; 12] = [
        "NOERROR",
        "FORMERR",
        "SERVFAIL",
        "NXDOMAIN",
        "NOTIMP",
        "REFUSED",
        "YXDOMAIN",
        "YXRRSET",
        "NXRRSET",
        "NOTAUTH",
        "NOTZONE",
        "DSOTYPENI",
    ];
    match word {
        "BADVERS" => Some(16),
        "BADCOOKIE" => Some(23),
        _ => match word.strip_prefix("RCODE") {
            Some(code) => code.parse().ok().filter(|&code| code < 4096),
            None => (0..).zip(NAMES).find(|(_, name)| *name == word).map(|(code, _)| code),
        },
    }
}
