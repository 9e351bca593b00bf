//! memcached's meta protocol as bytes: what is asked, and what is answered.

use std::fmt;

/// The longest first line of an answer. A server's own are much shorter.
const LONGEST_LINE: usize = 2048;
/// How much room is made at least, and at most, for what is read at once.
const ROOM: usize = 16 * 1024;
const MOST_ROOM: usize = 1024 * 1024;
/// An inbox that has grown beyond this for a large value is made small again after it.
const MOST_KEPT: usize = 64 * 1024;

/// What must be there for something to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    Always,
    IfNothing,
    /// The item has this `cas unique`.
    IfCas(u64),
}

/// `mg`: asks for a value and its `cas unique`.
pub(super) fn get(out: &mut Vec<u8>, key: &str, opaque: u32) {
    out.reserve(key.len() + 32);
    words(out, &[b"mg ", key.as_bytes(), b" v c O"]);
    number(out, opaque.into());
    out.extend_from_slice(b"\r\n");
}

/// `ms`: stores a value; `expiry` is what stands behind `T`.
pub(super) fn set(
    out: &mut Vec<u8>,
    key: &str,
    value: &[u8],
    expiry: u32,
    condition: Condition,
    opaque: u32,
) {
    out.reserve(key.len() + value.len() + 64);
    words(out, &[b"ms ", key.as_bytes(), b" "]);
    number(out, value.len() as u64);
    out.extend_from_slice(b" T");
    number(out, expiry.into());
    write_condition(out, condition);
    out.extend_from_slice(b" O");
    number(out, opaque.into());
    words(out, &[b"\r\n", value, b"\r\n"]);
}

/// `md`: removes an item.
pub(super) fn delete(out: &mut Vec<u8>, key: &str, condition: Condition, opaque: u32) {
    words(out, &[b"md ", key.as_bytes()]);
    write_condition(out, condition);
    out.extend_from_slice(b" O");
    number(out, opaque.into());
    out.extend_from_slice(b"\r\n");
}

fn write_condition(out: &mut Vec<u8>, condition: Condition) {
    match condition {
        Condition::Always => {}
        Condition::IfNothing => out.extend_from_slice(b" ME"),
        Condition::IfCas(cas) => {
            out.extend_from_slice(b" C");
            number(out, cas);
        }
    }
}

fn words(out: &mut Vec<u8>, words: &[&[u8]]) {
    for word in words {
        out.extend_from_slice(word);
    }
}

fn number(out: &mut Vec<u8>, mut number: u64) {
    let begin = out.len();
    loop {
        out.push(b"0123456789"[(number % 10) as usize]);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out[begin..].reverse();
}

/// One answer of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    /// What was sent with the command, and came back.
    pub(super) opaque: Option<u32>,
    pub(super) body: Body,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// `VA`
    Value {
        value: Vec<u8>,
        cas: u64,
    },
    /// `HD`: it was done.
    Done,
    /// `EN`, to `mg`: nothing is there.
    Miss,
    /// `NF`: nothing is there.
    NotFound,
    /// `NS`: it was not stored, since something is there.
    NotStored,
    /// `EX`: something with another `cas unique` is there.
    Exists,
    Refused(Refusal),
}

/// Why a server did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    TooLarge,
    /// There is no room, and nothing that may go.
    OutOfMemory,
    /// `ERROR`: it does not know the command.
    UnknownCommand,
    /// It has as many connections as it may have, and closes this one.
    Full,
    /// Another `SERVER_ERROR`, with its text.
    Server(String),
    /// `CLIENT_ERROR`, with its text.
    Client(String),
}

/// What was answered is not an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "malformed answer: {}", self.0)
    }
}

impl std::error::Error for Malformed {}

/// The first answer in the bytes and its length; none as long as there is only a part of it. A value may have
/// `most` bytes.
pub(super) fn parse(bytes: &[u8], most: usize) -> Result<Option<(Reply, usize)>, Malformed> {
    let Some(end) = bytes.iter().take(LONGEST_LINE).position(|byte| *byte == b'\n') else {
        let is_too_long = bytes.len() >= LONGEST_LINE;
        return if is_too_long { Err(Malformed("a line without an end")) } else { Ok(None) };
    };
    let line = bytes[..end].strip_suffix(b"\r").ok_or(Malformed("a line end without CR"))?;
    let behind = end + 1;
    let mut words = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    let body = match words.next() {
        Some(b"VA") => return parse_value(bytes, behind, words, most),
        Some(b"HD") => Body::Done,
        Some(b"EN") => Body::Miss,
        Some(b"NF") => Body::NotFound,
        Some(b"NS") => Body::NotStored,
        Some(b"EX") => Body::Exists,
        _ => {
            let refusal = parse_refusal(line).ok_or(Malformed("an unknown word"))?;
            return Ok(Some((Reply { opaque: None, body: Body::Refused(refusal) }, behind)));
        }
    };
    let flags = Flags::parse(words)?;
    Ok(Some((Reply { opaque: flags.opaque, body }, behind)))
}

fn parse_value<'b>(
    bytes: &[u8],
    begin: usize,
    mut words: impl Iterator<Item = &'b [u8]>,
    most: usize,
) -> Result<Option<(Reply, usize)>, Malformed> {
    let length = words.next().and_then(parse_number).ok_or(Malformed("a value without its length"))?;
    let length = usize::try_from(length).ok().filter(|length| *length <= most);
    let length = length.ok_or(Malformed("a value longer than was asked for"))?;
    let flags = Flags::parse(words)?;
    let end = begin + length;
    let Some(behind) = bytes.get(end..end + 2) else { return Ok(None) };
    if behind != b"\r\n" {
        return Err(Malformed("a value without its end"));
    }
    let cas = flags.cas.ok_or(Malformed("a value without its version"))?;
    let body = Body::Value { value: bytes[begin..end].to_vec(), cas };
    Ok(Some((Reply { opaque: flags.opaque, body }, end + 2)))
}

#[derive(Default)]
struct Flags {
    opaque: Option<u32>,
    cas: Option<u64>,
}

impl Flags {
    /// Takes the flags that were asked for; a server may send others.
    fn parse<'b>(words: impl Iterator<Item = &'b [u8]>) -> Result<Self, Malformed> {
        let mut flags = Self::default();
        for word in words {
            let number = || parse_number(&word[1..]).ok_or(Malformed("a flag without its number"));
            match word[0] {
                b'O' => {
                    let opaque = u32::try_from(number()?).map_err(|_| Malformed("another's opaque"))?;
                    flags.opaque = Some(opaque);
                }
                b'c' => flags.cas = Some(number()?),
                _ => {}
            }
        }
        Ok(flags)
    }
}

fn parse_number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 20 {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

fn parse_refusal(line: &[u8]) -> Option<Refusal> {
    let text = |rest: &[u8]| String::from_utf8_lossy(rest.trim_ascii()).escape_debug().take(200).collect();
    if line == b"ERROR" {
        return Some(Refusal::UnknownCommand);
    }
    if line.starts_with(b"ERROR Too many open connections") {
        return Some(Refusal::Full);
    }
    if let Some(rest) = line.strip_prefix(b"CLIENT_ERROR") {
        return Some(Refusal::Client(text(rest)));
    }
    let rest = line.strip_prefix(b"SERVER_ERROR")?.trim_ascii();
    Some(if rest.starts_with(b"object too large") {
        Refusal::TooLarge
    } else if rest.starts_with(b"out of memory") {
        Refusal::OutOfMemory
    } else {
        Refusal::Server(text(rest))
    })
}

/// What has been read of a connection and not been understood yet.
///
/// It holds one answer and what was read along with it, so that it is at most a little larger than the
/// largest value, and grows only as bytes arrive, whatever length a server announces.
#[derive(Debug)]
pub(super) struct Inbox {
    /// What has been read is in `from..to`.
    bytes: Vec<u8>,
    from: usize,
    to: usize,
    most: usize,
}

impl Inbox {
    /// For values of at most so many bytes.
    pub(super) fn new(most: usize) -> Self {
        Self { bytes: Vec::new(), from: 0, to: 0, most }
    }

    /// Whether all that was read has been taken.
    pub(super) fn is_empty(&self) -> bool {
        self.from == self.to
    }

    /// Where to read to; [`filled`](Self::filled) says how much was.
    pub(super) fn room(&mut self) -> &mut [u8] {
        if self.from == self.to {
            (self.from, self.to) = (0, 0);
            if self.bytes.len() > MOST_KEPT {
                self.bytes = Vec::new();
            }
        } else if self.from >= ROOM {
            self.bytes.copy_within(self.from..self.to, 0);
            (self.from, self.to) = (0, self.to - self.from);
        }
        if self.bytes.len() < self.to + ROOM / 2 {
            self.bytes.resize(self.to + self.to.clamp(ROOM, MOST_ROOM), 0);
        }
        &mut self.bytes[self.to..]
    }

    pub(super) fn filled(&mut self, count: usize) {
        self.to = (self.to + count).min(self.bytes.len());
    }

    /// Takes what there is, whatever it is.
    pub(super) fn take_all(&mut self) -> &[u8] {
        let from = std::mem::replace(&mut self.from, self.to);
        &self.bytes[from..self.to]
    }

    /// Takes the next answer; none as long as it is not there whole.
    pub(super) fn take(&mut self) -> Result<Option<Reply>, Malformed> {
        let parsed = parse(&self.bytes[self.from..self.to], self.most)?;
        Ok(parsed.map(|(reply, length)| {
            self.from += length;
            reply
        }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MOST: usize = 1 << 20;

    fn text(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn commands_are_what_the_protocol_says() {
        assert_eq!(text(|out| get(out, "key", 7)), "mg key v c O7\r\n");
        for (condition, flag) in [
            (Condition::Always, ""),
            (Condition::IfNothing, " ME"),
            (Condition::IfCas(u64::MAX), &*format!(" C{}", u64::MAX)),
        ] {
            let stored = text(|out| set(out, "key", b"value", 60, condition, 0));
            assert_eq!(stored, format!("ms key 5 T60{flag} O0\r\nvalue\r\n"));
            if condition != Condition::IfNothing {
                let deleted = text(|out| delete(out, "key", condition, u32::MAX));
                assert_eq!(deleted, format!("md key{flag} O4294967295\r\n"));
            }
        }
    }

    fn one(bytes: &[u8]) -> Result<Option<Reply>, Malformed> {
        parse(bytes, MOST).map(|parsed| {
            parsed.map(|(reply, length)| {
                assert_eq!(length, bytes.len());
                reply
            })
        })
    }

    #[test]
    fn answers_are_understood() {
        let with = |opaque, body| Reply { opaque, body };
        let refused = |refusal| with(None, Body::Refused(refusal));
        for (bytes, reply) in [
            (&b"HD O1\r\n"[..], with(Some(1), Body::Done)),
            (b"EN\r\n", with(None, Body::Miss)),
            (b"EN O2\r\n", with(Some(2), Body::Miss)),
            (b"NF O3\r\n", with(Some(3), Body::NotFound)),
            (b"NS c0 O4\r\n", with(Some(4), Body::NotStored)),
            (b"EX O5\r\n", with(Some(5), Body::Exists)),
            (b"VA 2 c9 O6\r\n\r\n\r\n", with(Some(6), Body::Value { value: b"\r\n".to_vec(), cas: 9 })),
            (b"VA 0 O7 c1 W X Z\r\n\r\n", with(Some(7), Body::Value { value: Vec::new(), cas: 1 })),
            (b"ERROR\r\n", refused(Refusal::UnknownCommand)),
            (b"ERROR Too many open connections\r\n", refused(Refusal::Full)),
            (b"SERVER_ERROR object too large for cache\r\n", refused(Refusal::TooLarge)),
            (b"SERVER_ERROR out of memory storing object\r\n", refused(Refusal::OutOfMemory)),
            (b"SERVER_ERROR no\x1B\r\n", refused(Refusal::Server("no\\u{1b}".to_owned()))),
            (b"CLIENT_ERROR bad\r\n", refused(Refusal::Client("bad".to_owned()))),
        ] {
            assert_eq!(one(bytes), Ok(Some(reply)), "{:?}", String::from_utf8_lossy(bytes));
            for length in 0..bytes.len() {
                assert_eq!(parse(&bytes[..length], MOST), Ok(None), "a part of it");
            }
        }
    }

    #[test]
    fn what_is_no_answer_is_said_to_be_none() {
        for bytes in [
            &b"\r\n"[..],
            b"HD O1\n",
            b"hd O1\r\n",
            b"STORED\r\n",
            b"ERROR Too few\r\n",
            b"HD O4294967296\r\n",
            b"HD Ox\r\n",
            b"VA\r\n",
            b"VA -1 c1 O1\r\n",
            b"VA 2 O1\r\nab\r\n",
            b"VA 2 c1 O1\r\nabc\r\n",
            b"VA 18446744073709551615 c1 O1\r\n",
            b"VA 99999999999999999999999 c1 O1\r\n",
            b"VA 1048577 c1 O1\r\n",
            &[b'x'; LONGEST_LINE],
        ] {
            assert!(parse(bytes, MOST).is_err(), "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            bytes: Vec<u8>,
            tail in "(VA|HD|EN) [0-9]{0,22}( [a-zA-Z][0-9]{0,11}){0,3}\r\n.{0,9}",
        ) {
            let _ = parse(&bytes, MOST);
            let _ = parse(tail.as_bytes(), MOST);
        }

        #[test]
        fn any_value_is_understood_however_it_arrives(
            values: Vec<Vec<u8>>,
            pieces in prop::collection::vec(1..100_usize, 1..20),
        ) {
            let mut sent = Vec::new();
            for (opaque, value) in values.iter().enumerate() {
                sent.extend_from_slice(format!("VA {} c{opaque} O{opaque}\r\n", value.len()).as_bytes());
                sent.extend_from_slice(value);
                sent.extend_from_slice(b"\r\n");
            }
            let mut inbox = Inbox::new(MOST);
            let mut got = Vec::new();
            let mut left = &sent[..];
            for piece in pieces.iter().cycle() {
                while let Some(reply) = inbox.take().unwrap() {
                    let Body::Value { value, cas } = reply.body else { panic!("a value was sent") };
                    assert_eq!((reply.opaque, cas), (u32::try_from(got.len()).ok(), got.len() as u64));
                    got.push(value);
                }
                if left.is_empty() {
                    break;
                }
                let room = inbox.room();
                let count = (*piece).min(left.len()).min(room.len());
                room[..count].copy_from_slice(&left[..count]);
                left = &left[count..];
                inbox.filled(count);
            }
            prop_assert!(inbox.is_empty());
            prop_assert_eq!(got, values);
        }

        #[test]
        fn an_inbox_stays_within_bounds(piece: Vec<u8>) {
            const SMALL: usize = 100_000;
            prop_assume!(!piece.is_empty());
            let mut inbox = Inbox::new(SMALL);
            let announced = format!("VA {SMALL} c1 O1\r\n").into_bytes();
            let hostile = announced.into_iter().chain(piece.into_iter().cycle().take(4 * SMALL));
            let mut hostile = hostile.peekable();
            while hostile.peek().is_some() {
                for place in inbox.room().iter_mut().take(1000) {
                    *place = hostile.next().unwrap_or_default();
                }
                inbox.filled(1000);
                prop_assert!(inbox.bytes.len() <= 4 * SMALL);
                match inbox.take() {
                    Ok(_) => {}
                    Err(_) => break,
                }
            }
        }
    }
}
