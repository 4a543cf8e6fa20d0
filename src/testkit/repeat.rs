//! Blocks of lines that are repeated, each round a little different.

use super::token::{nanos, number};

/// How far client ports and ids move from one round to the next.
const STRIDE: u16 = 16;
/// The first port that clients use.
const FIRST_PORT: u16 = 1024;

/// A block between `repeat` and `end`.
#[derive(Debug)]
pub(super) struct Block {
    /// Line of its `repeat`.
    pub(super) at: usize,
    rounds: u32,
    every: i64,
    from: i64,
    same_port: bool,
    same_id: bool,
    /// Line, file and text of what it repeats.
    pub(super) lines: Vec<(usize, u32, String)>,
}

/// What one round changes; the default is no block at all.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Round {
    pub(super) n: u32,
    /// Nanoseconds added to all times.
    pub(super) offset: i64,
    same_port: bool,
    same_id: bool,
}

impl Block {
    /// The block that the words behind `repeat` open.
    pub(super) fn open(at: usize, words: &[&str]) -> Result<Self, String> {
        let [rounds, "every", every, rest @ ..] = words else {
            return Err("expected: repeat N every SECONDS".to_owned());
        };
        let mut block = Self {
            at,
            rounds: number(rounds)?,
            every: nanos(every)?,
            from: 0,
            same_port: false,
            same_id: false,
            lines: Vec::new(),
        };
        let mut rest = rest.iter();
        while let Some(word) = rest.next() {
            match *word {
                "from" => block.from = nanos(rest.next().ok_or("from when?")?)?,
                "same-port" => block.same_port = true,
                "same-id" => block.same_id = true,
                other => return Err(format!("unknown word: {other}")),
            }
        }
        Ok(block)
    }

    /// Its rounds in order.
    pub(super) fn rounds(&self) -> impl Iterator<Item = Round> + use<'_> {
        (0..self.rounds).map(|n| Round {
            n,
            offset: self.from + self.every * i64::from(n),
            same_port: self.same_port,
            same_id: self.same_id,
        })
    }
}

impl Round {
    /// How far ids move.
    pub(super) fn id_shift(self) -> u16 {
        if self.same_id { 0 } else { shift(self.n) }
    }

    /// The port that a client has instead of `port`; it stays among those that clients use.
    pub(super) fn client_port(self, port: u16) -> u16 {
        if self.same_port || self.n == 0 || port < FIRST_PORT {
            return port;
        }
        let span = u32::from(u16::MAX - FIRST_PORT) + 1;
        let place = (u32::from(port - FIRST_PORT) + u32::from(shift(self.n))) % span;
        FIRST_PORT + u16::try_from(place).unwrap_or(0)
    }

    /// `text` with `{n}` and `{n+7}` replaced by numbers.
    pub(super) fn fill_in(self, text: &str) -> Result<String, String> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{n") {
            let (plus, after) = after.split_once('}').ok_or("a brace without end")?;
            let plus: u32 = match plus.strip_prefix('+') {
                None if plus.is_empty() => 0,
                Some(plus) => number(plus)?,
                None => return Err(format!("neither {{n}} nor {{n+7}}: {{n{plus}}}")),
            };
            out.push_str(before);
            out.push_str(&(self.n + plus).to_string());
            rest = after;
        }
        out.push_str(rest);
        Ok(out)
    }
}

fn shift(round: u32) -> u16 {
    let moved = u64::from(round) * u64::from(STRIDE);
    u16::try_from(moved & 0xffff).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_numbered_from_zero() {
        let block = Block::open(1, &["3", "every", "1.5", "from", "10"]).unwrap();
        let last = block.rounds().last().unwrap();
        assert_eq!((last.n, last.offset), (2, 13_000_000_000));
        assert_eq!(last.fill_in("n{n}.{n+7}{").as_deref(), Ok("n2.9{"));
        assert!(last.fill_in("{nine}").is_err() && last.fill_in("{n").is_err());
    }

    #[test]
    fn ports_stay_among_those_that_clients_use() {
        let round = |n| Round { n, ..Round::default() };
        assert_eq!(round(1).client_port(40_000), 40_016);
        assert_eq!(round(1).client_port(65_530), 1034);
        assert_eq!(round(9).client_port(53), 53);
        assert!((0..9000).all(|n| round(n).client_port(40_000) >= FIRST_PORT));
    }
}
