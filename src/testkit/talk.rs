//! What was asked, so that a response can repeat it.

use std::net::SocketAddr;

use super::script::Parties;
use super::wire::{MessageSpec, Question};
use super::words::Spoken;

/// RD, which responses copy.
const RD: u16 = 0x0100;
const QR: u16 = 0x8000;

/// The queries so far, the latest last.
#[derive(Debug, Default)]
pub(super) struct Talk {
    asked: Vec<Asked>,
    /// How many queries got an id from the kit.
    numbered: u16,
}

#[derive(Debug)]
struct Asked {
    client: SocketAddr,
    server: SocketAddr,
    id: u16,
    question: Option<Question>,
    rd: u16,
    opcode: u8,
}

impl Talk {
    /// The whole message: a query if it goes forth, else the response to one.
    pub(super) fn message(
        &mut self,
        parties: Parties,
        spoken: &Spoken,
    ) -> Result<MessageSpec, String> {
        let mut spec = spoken.spec.clone();
        if !parties.forth {
            self.complete(parties, spoken, &mut spec)?;
            return Ok(spec);
        }
        spec.id = spoken.id.unwrap_or_else(|| {
            // Ids of neighbouring queries differ in more than their last bits.
            self.numbered = self.numbered.wrapping_add(1);
            self.numbered.wrapping_mul(0x9e37)
        });
        self.asked.push(Asked {
            client: parties.client,
            server: parties.server,
            id: spec.id,
            question: spec.question.clone(),
            rd: spec.flags & RD,
            opcode: spec.opcode,
        });
        Ok(spec)
    }

    fn complete(
        &self,
        parties: Parties,
        spoken: &Spoken,
        spec: &mut MessageSpec,
    ) -> Result<(), String> {
        spec.flags |= QR;
        let mine = |asked: &&Asked| {
            asked.client == parties.client && spoken.id.is_none_or(|id| id == asked.id)
        };
        let to_server = |asked: &&Asked| asked.server == parties.server;
        let same = |asked: &&Asked| spec.question.is_none() || asked.question == spec.question;
        let latest = || self.asked.iter().rev().filter(mine);
        let query = latest()
            .filter(to_server)
            .find(same)
            .or_else(|| latest().find(to_server))
            .or_else(|| latest().next());
        let Some(query) = query else {
            // A response to a query that nobody sent: everything has to be said.
            spec.id = spoken.id.ok_or("a response to what?")?;
            if spec.question.is_none() && !spoken.no_question {
                return Err("no query to repeat the question of: say ? TYPE NAME".to_owned());
            }
            return Ok(());
        };
        spec.id = query.id;
        spec.flags |= query.rd;
        if spec.opcode == 0 {
            spec.opcode = query.opcode;
        }
        if spoken.no_question {
            spec.question = None;
        } else if spec.question.is_none() {
            spec.question.clone_from(&query.question);
        }
        Ok(())
    }
}
