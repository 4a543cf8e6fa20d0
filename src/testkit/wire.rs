//! DNS messages written byte by byte (RFC 1035 section 4, RFC 6891), names compressed.

use std::collections::BTreeMap;

use crate::dns::Name;

/// What a message is to say.
#[derive(Debug, Clone, Default)]
pub(super) struct MessageSpec {
    pub(super) id: u16,
    /// QR and the flags, without OPCODE and RCODE.
    pub(super) flags: u16,
    pub(super) opcode: u8,
    /// Up to twelve bits; more than four need `edns`.
    pub(super) rcode: u16,
    pub(super) question: Option<Question>,
    pub(super) answers: Vec<Record>,
    pub(super) authorities: Vec<Record>,
    pub(super) additionals: Vec<Record>,
    pub(super) edns: Option<Edns>,
}

/// A question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) name: Name,
    pub(super) rtype: u16,
    pub(super) class: u16,
}

/// A resource record.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) owner: Name,
    pub(super) ttl: u32,
    pub(super) class: u16,
    pub(super) rtype: u16,
    pub(super) data: Vec<Datum>,
}

/// A piece of record data.
#[derive(Debug, Clone)]
pub(super) enum Datum {
    /// Bytes as they are.
    Bytes(Vec<u8>),
    /// A name that may be compressed (RFC 1035 types only).
    Compressible(Name),
    /// A name that may not (RFC 3597 section 4).
    Plain(Name),
}

/// The OPT pseudo-record.
#[derive(Debug, Clone)]
pub(super) struct Edns {
    pub(super) udp_size: u16,
    pub(super) dnssec_ok: bool,
    pub(super) extended_error: Option<u16>,
    pub(super) cookie: bool,
}

impl Default for Edns {
    fn default() -> Self {
        Self { udp_size: 1232, dnssec_ok: false, extended_error: None, cookie: false }
    }
}

impl MessageSpec {
    /// The message in wire format.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.u16(self.id);
        out.u16(self.flags | u16::from(self.opcode & 15) << 11 | (self.rcode & 15));
        let additionals = self.additionals.len() + usize::from(self.edns.is_some());
        out.count(usize::from(self.question.is_some()));
        out.count(self.answers.len());
        out.count(self.authorities.len());
        out.count(additionals);
        if let Some(question) = &self.question {
            out.name(&question.name);
            out.u16(question.rtype);
            out.u16(question.class);
        }
        let sections = [&self.answers, &self.authorities, &self.additionals];
        for record in sections.into_iter().flatten() {
            out.record(record);
        }
        if let Some(edns) = &self.edns {
            out.opt(edns, self.rcode);
        }
        out.bytes
    }
}

#[derive(Default)]
struct Writer {
    bytes: Vec<u8>,
    /// Where each name that was written begins, by its wire bytes.
    names: BTreeMap<Vec<u8>, u16>,
}

impl Writer {
    fn u16(&mut self, value: u16) {
        self.bytes.extend(value.to_be_bytes());
    }

    fn count(&mut self, value: usize) {
        self.u16(u16::try_from(value).expect("at most 65,535 records"));
    }

    fn name(&mut self, name: &Name) {
        let mut rest = name.clone();
        while let Some(label) = rest.first_label().map(<[u8]>::to_vec) {
            if let Some(at) = self.names.get(rest.wire()) {
                return self.u16(0xc000 | *at);
            }
            if let Ok(at @ ..0x4000) = u16::try_from(self.bytes.len()) {
                self.names.insert(rest.wire().to_vec(), at);
            }
            self.bytes.push(u8::try_from(label.len()).unwrap_or_default());
            self.bytes.extend(label);
            rest = rest.without_leading(1);
        }
        self.bytes.push(0);
    }

    fn record(&mut self, record: &Record) {
        self.name(&record.owner);
        self.u16(record.rtype);
        self.u16(record.class);
        self.bytes.extend(record.ttl.to_be_bytes());
        let length_at = self.bytes.len();
        self.u16(0);
        for datum in &record.data {
            match datum {
                Datum::Bytes(bytes) => self.bytes.extend(bytes),
                Datum::Compressible(name) => self.name(name),
                Datum::Plain(name) => self.bytes.extend(name.wire()),
            }
        }
        let length = self.bytes.len() - length_at - 2;
        let length = u16::try_from(length).expect("record data of at most 65,535 bytes");
        self.bytes[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
    }

    fn opt(&mut self, edns: &Edns, rcode: u16) {
        let mut options = Vec::new();
        if let Some(code) = edns.extended_error {
            options.extend([0, 15, 0, 2]);
            options.extend(code.to_be_bytes());
        }
        if edns.cookie {
            options.extend([0, 10, 0, 8, 0xc0, 0x0c, 0x1e, 0, 1, 2, 3, 4]);
        }
        let extended = u32::from(rcode >> 4) << 24;
        self.record(&Record {
            owner: Name::root(),
            ttl: extended | u32::from(edns.dnssec_ok) << 15,
            class: edns.udp_size,
            rtype: 41,
            data: vec![Datum::Bytes(options)],
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::Message;

    #[test]
    fn another_parser_reads_what_was_written() {
        let name = |text| Name::parse(text).unwrap();
        let spec = MessageSpec {
            id: 0x1a2b,
            flags: 0x8180,
            rcode: 16,
            question: Some(Question { name: name("www.Example.com."), rtype: 1, class: 1 }),
            answers: vec![
                Record {
                    owner: name("www.Example.com."),
                    ttl: 300,
                    class: 1,
                    rtype: 5,
                    data: vec![Datum::Compressible(name("web.Example.com."))],
                },
                Record {
                    owner: name("web.Example.com."),
                    ttl: 30,
                    class: 1,
                    rtype: 1,
                    data: vec![Datum::Bytes(vec![203, 0, 113, 7])],
                },
            ],
            edns: Some(Edns::default()),
            ..MessageSpec::default()
        };
        let bytes = spec.bytes();
        let read = Message::from_vec(&bytes).unwrap();
        assert_eq!(read.answers.len(), 2);
        assert_eq!(read.metadata.id, 0x1a2b);
        assert_eq!(u16::from(read.metadata.response_code), 16);
        assert_eq!(read.answers[1].to_string(), "web.Example.com. 30 IN A 203.0.113.7");
        // Each of the later names is a pointer, or a label and a pointer.
        assert_eq!(bytes.len(), 12 + 21 + (2 + 10 + 6) + (2 + 10 + 4) + 11);
    }
}
