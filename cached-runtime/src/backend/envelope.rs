//! What lies under a key of a backend: a record that says of itself what it is, in one piece with a checksum.
//!
//! | bytes | |
//! |---|---|
//! | 4 | `cchd` |
//! | 1 | the version of this format, 1 |
//! | 1 | the kind: `v`alue, `t`ombstone, `c`laim, `r`eleased claim, `g`eneration |
//! | 1 | the codec of the payload: `m`essagepack, `j`son, or the `ID` of one's own |
//! | 1 | flags, none yet: 0 |
//! | 8 | when it was written, in milliseconds since 1970 |
//! | 8 | until when it is fresh, likewise; all ones: for ever |
//! | 8 | how long the value took to compute, in microseconds |
//! | 16 | the generation of the function under which it was begun; with tags, a hash of theirs, too |
//! | 4, n | the length of the encoded key, and the key |
//! | 4, n | the length of the payload, and the payload |
//! | 8 | XXH3 of all before |
//!
//! Numbers are little-endian. Anything that is not exactly so is no record.

use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use crate::clock::nanoseconds;

const MAGIC: &[u8; 4] = b"cchd";
const FORMAT: u8 = 1;
const CHECKSUM: usize = 8;
const GENERATION_AT: usize = 32;
const MILLISECOND: u64 = 1_000_000;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A stored value.
    Value,
    /// Something was invalidated here; until it expires, what was begun before is not stored.
    Tombstone,
    /// Somebody computes the value. The payload is the number of the claim.
    Claim,
    /// Whoever had the claim of this number has computed nothing that is stored.
    Released,
    /// The generation of a function or of a tag.
    Generation,
}

impl Kind {
    const ALL: [(Self, u8); 5] = [
        (Self::Value, b'v'),
        (Self::Tombstone, b't'),
        (Self::Claim, b'c'),
        (Self::Released, b'r'),
        (Self::Generation, b'g'),
    ];

    fn byte(self) -> u8 {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or(0, |(_, byte)| *byte)
    }

    fn of(byte: u8) -> Option<Self> {
        Self::ALL.iter().find(|(_, it)| *it == byte).map(|(kind, _)| *kind)
    }
}

/// Milliseconds since 1970.
pub(crate) type Wall = u64;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) kind: Kind,
    pub(crate) codec: u8,
    pub(crate) written: Wall,
    /// Absent if it never expires.
    pub(crate) expires: Option<Wall>,
    /// Microseconds.
    pub(crate) cost: u64,
    pub(crate) generation: u128,
    pub(crate) key: &'a [u8],
    pub(crate) payload: &'a [u8],
}

impl<'a> Record<'a> {
    /// A record of a key that says nothing yet, written at this time.
    pub(crate) fn blank(key: &'a [u8], written: Wall, ttl: Option<Duration>) -> Self {
        let life = ttl.map(|ttl| nanoseconds(ttl).div_ceil(MILLISECOND).max(1));
        Self {
            kind: Kind::Tombstone,
            codec: 0,
            written,
            expires: life.map(|life| written.saturating_add(life)),
            cost: 0,
            generation: 0,
            key,
            payload: &[],
        }
    }

    /// The record as bytes; `None` if a part is longer than can be said.
    pub(crate) fn encode(&self) -> Option<Vec<u8>> {
        let key_len = u32::try_from(self.key.len()).ok()?;
        let payload_len = u32::try_from(self.payload.len()).ok()?;
        let mut bytes = Vec::with_capacity(64 + self.key.len() + self.payload.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&[FORMAT, self.kind.byte(), self.codec, 0]);
        bytes.extend_from_slice(&self.written.to_le_bytes());
        bytes.extend_from_slice(&self.expires.unwrap_or(Wall::MAX).to_le_bytes());
        bytes.extend_from_slice(&self.cost.to_le_bytes());
        bytes.extend_from_slice(&self.generation.to_le_bytes());
        bytes.extend_from_slice(&key_len.to_le_bytes());
        bytes.extend_from_slice(self.key);
        bytes.extend_from_slice(&payload_len.to_le_bytes());
        bytes.extend_from_slice(self.payload);
        let checksum = xxh3_64(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        Some(bytes)
    }

    /// The record that these bytes are, if they are one. Allocates nothing, whatever lengths they claim.
    pub(crate) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (content, checksum) = bytes.split_at_checked(bytes.len().checked_sub(CHECKSUM)?)?;
        let mut rest = content;
        if take::<4>(&mut rest)? != *MAGIC {
            return None;
        }
        let [format, kind, codec, flags] = take(&mut rest)?;
        if format != FORMAT || flags != 0 || checksum != xxh3_64(content).to_le_bytes() {
            return None;
        }
        let record = Self {
            kind: Kind::of(kind)?,
            codec,
            written: u64::from_le_bytes(take(&mut rest)?),
            expires: Some(u64::from_le_bytes(take(&mut rest)?)).filter(|it| *it != Wall::MAX),
            cost: u64::from_le_bytes(take(&mut rest)?),
            generation: u128::from_le_bytes(take(&mut rest)?),
            key: take_counted(&mut rest)?,
            payload: take_counted(&mut rest)?,
        };
        rest.is_empty().then_some(record)
    }

    /// The generation of what may be a record.
    pub(crate) fn generation_in(bytes: &[u8]) -> Option<u128> {
        bytes
            .get(GENERATION_AT..)
            .and_then(|rest| rest.first_chunk())
            .map(|chunk| u128::from_le_bytes(*chunk))
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}

fn take_counted<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(u32::from_le_bytes(take(bytes)?)).ok()?;
    let (counted, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(counted)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::cases;

    const RECORD: Record<'_> = Record {
        kind: Kind::Value,
        codec: b'm',
        written: 1_700_000_000_000,
        expires: Some(1_700_000_300_000),
        cost: 1234,
        generation: 0x0123_4567_89ab_cdef,
        key: b"key",
        payload: b"payload",
    };

    #[test]
    fn a_record_comes_back_as_it_was() {
        for (kind, _) in Kind::ALL {
            for expires in [None, Some(0), Some(Wall::MAX - 1)] {
                for (key, payload) in [(&b""[..], &b""[..]), (b"key", b""), (b"", b"payload")] {
                    let record = Record { kind, expires, key, payload, ..RECORD };
                    let bytes = record.encode().expect("it is short");
                    assert_eq!(Record::decode(&bytes), Some(record));
                    assert_eq!(Record::generation_in(&bytes), Some(record.generation));
                }
            }
        }
    }

    #[test]
    fn a_record_with_any_bit_flipped_or_byte_lost_is_none() {
        let bytes = RECORD.encode().expect("it is short");
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Record::decode(&flipped), None, "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert_eq!(Record::decode(&bytes[..len]), None, "{len} bytes");
        }
        assert_eq!(Record::decode(&[&bytes[..], b"\0"].concat()), None);
    }

    #[test]
    fn lengths_that_are_lies_are_no_record() {
        let bytes = RECORD.encode().expect("it is short");
        let lengths = [48, 48 + 4 + RECORD.key.len()];
        for at in lengths {
            for lie in [0_u32, 1, 2, 4, 8, 1 << 31, u32::MAX] {
                let mut lying = bytes[..bytes.len() - CHECKSUM].to_vec();
                lying[at..at + 4].copy_from_slice(&lie.to_le_bytes());
                let checksum = xxh3_64(&lying);
                lying.extend_from_slice(&checksum.to_le_bytes());
                assert_eq!(Record::decode(&lying), None, "{lie} at {at}");
            }
        }
    }

    proptest! {
        #![proptest_config(cases(1000))]
        #[test]
        fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Record::decode(&bytes).is_none());
        }
    }
}
