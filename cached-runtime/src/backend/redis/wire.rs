//! Where a reply ends: enough of the protocol, version 2, to know that all of it has come.
//!
//! Only whole replies are parsed, so that a length that a server claims costs memory only as its bytes arrive.

use redis::Value;

/// The largest string that a server keeps, unless it was told otherwise.
pub(super) const MOST_BYTES: usize = 512 << 20;
const LONGEST_LINE: usize = 64 << 10;
const MOST_PARTS: usize = 1 << 20;

/// How much of a reply is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// It ends before this position.
    Whole(usize),
    /// It has at least so many bytes.
    AtLeast(usize),
}

/// What is no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Garbled;

/// How far the reply reaches that begins where the bytes begin.
pub(super) fn extent(bytes: &[u8]) -> Result<Extent, Garbled> {
    let mut at = 0;
    let mut parts = 1_usize;
    while parts > 0 {
        let Some(end) = line_end(bytes, at)? else { return Ok(Extent::AtLeast(bytes.len() + 1)) };
        let (kind, line) = (bytes[at], &bytes[at + 1..end - 2]);
        at = end;
        parts -= 1;
        match kind {
            b'+' | b'-' | b':' => {}
            b'$' => {
                if let Some(length) = length(line, MOST_BYTES)? {
                    at += length + 2;
                    match bytes.get(at - 2..at) {
                        Some(b"\r\n") => {}
                        Some(_) => return Err(Garbled),
                        None => return Ok(Extent::AtLeast(at)),
                    }
                }
            }
            b'*' => parts += length(line, MOST_PARTS - parts)?.unwrap_or(0),
            _ => return Err(Garbled),
        }
    }
    Ok(Extent::Whole(at))
}

/// What a whole reply says.
pub(super) fn value(whole: &[u8]) -> Result<Value, Garbled> {
    match string(whole)? {
        // Most are this, and the parser clears some thousand bytes for what is yet to come.
        Some(string) => Ok(Value::BulkString(string.to_vec())),
        None => redis::parse_redis_value(whole).map_err(|_| Garbled),
    }
}

/// The string that a whole reply is, if it is one.
fn string(whole: &[u8]) -> Result<Option<&[u8]>, Garbled> {
    if whole.first() != Some(&b'$') {
        return Ok(None);
    }
    let begin = line_end(whole, 0)?.ok_or(Garbled)?;
    let length = length(&whole[1..begin - 2], MOST_BYTES)?;
    Ok(length.and_then(|length| whole.get(begin..begin + length)))
}

/// The position after the line that begins at `from`, if the line is complete.
fn line_end(bytes: &[u8], from: usize) -> Result<Option<usize>, Garbled> {
    let line = bytes.get(from..).unwrap_or_default();
    match line.iter().take(LONGEST_LINE).position(|&byte| byte == b'\n') {
        Some(end) if end >= 2 && line[end - 1] == b'\r' => Ok(Some(from + end + 1)),
        Some(_) => Err(Garbled),
        None if line.len() >= LONGEST_LINE => Err(Garbled),
        // Told by its first byte, so that what speaks another protocol is not waited for.
        None if line.first().is_some_and(|kind| !b"+-:$*".contains(kind)) => Err(Garbled),
        None => Ok(None),
    }
}

/// A length; -1 stands for what is not there.
fn length(line: &[u8], most: usize) -> Result<Option<usize>, Garbled> {
    if line == b"-1" {
        return Ok(None);
    }
    // `parse` would take a sign.
    if line.is_empty() || line.len() > 10 || !line.iter().all(u8::is_ascii_digit) {
        return Err(Garbled);
    }
    let length = line.iter().fold(0_u64, |length, digit| length * 10 + u64::from(digit - b'0'));
    usize::try_from(length).ok().filter(|&length| length <= most).map(Some).ok_or(Garbled)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPLIES: [&[u8]; 10] = [
        b"+OK\r\n",
        b"-ERR no\r\n",
        b":42\r\n",
        b"$-1\r\n",
        b"$0\r\n\r\n",
        b"$5\r\na\r\nbc\r\n",
        b"*-1\r\n",
        b"*0\r\n",
        b"*1\r\n$1\r\nx\r\n",
        b"*2\r\n$1\r\nx\r\n*1\r\n:1\r\n",
    ];

    #[test]
    fn a_reply_is_whole_when_its_last_byte_has_come_and_not_before() {
        for reply in REPLIES {
            let mut sent = reply.to_vec();
            sent.extend_from_slice(b"+NEXT\r\n");
            assert_eq!(extent(&sent), Ok(Extent::Whole(reply.len())));
            for cut in 0..reply.len() {
                let Ok(Extent::AtLeast(more)) = extent(&reply[..cut]) else { panic!("{cut} of {reply:?}") };
                assert!(cut < more && more <= reply.len(), "{cut} of {reply:?}");
            }
        }
    }

    #[test]
    fn what_a_whole_reply_says_is_what_the_parser_reads() {
        for reply in REPLIES {
            let parsed = redis::parse_redis_value(reply).expect("it is a reply");
            assert_eq!(value(reply), Ok(parsed), "{:?}", String::from_utf8_lossy(reply));
        }
        assert_eq!(value(b"$5\r\na\r\nbc\r\n"), Ok(Value::BulkString(b"a\r\nbc".to_vec())));
        assert_eq!([&b"$5"[..], b"$x\r\n", b"*1\r\n"].map(value), [Err(Garbled), Err(Garbled), Err(Garbled)]);
    }

    #[test]
    fn what_is_no_reply_is_told_at_once() {
        for bytes in [
            &b"H"[..],
            b"\r\n",
            b"+OK\n",
            b"$x\r\n",
            b"$-2\r\n",
            b"$+1\r\n",
            b"$3\r\nabcde",
            b"$99999999999\r\n",
            b"$600000000\r\n",
            b"*2000000\r\n",
            b"%1\r\n",
            b"*1\r\nHTTP",
        ] {
            assert_eq!(extent(bytes), Err(Garbled), "{:?}", String::from_utf8_lossy(bytes));
        }
        assert_eq!(extent(&vec![b'+'; LONGEST_LINE]), Err(Garbled));
    }

    #[test]
    fn nested_arrays_do_not_multiply() {
        let bomb = b"*1000000\r\n".repeat(100);
        assert_eq!(extent(&bomb), Err(Garbled));
    }
}
