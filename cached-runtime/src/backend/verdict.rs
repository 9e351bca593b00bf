//! What was found under a key, judged.

use super::driver::{Expected, Found};
use super::envelope::{Kind, Record, Wall};
use crate::clock::{Moment, NEVER};
use crate::policy::{Freshness, Times, Windows};

/// What a reader makes of what was found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict<'a> {
    /// A value, if it can be decoded.
    Value(Record<'a>),
    /// Somebody computes it, under a claim of this number.
    Claim(u128),
    /// Somebody has, and there is nothing to store.
    Released(u128),
    /// Nothing that could be used.
    Nothing,
    /// The same; and what is there is not from here.
    Foreign,
}

/// What a reader looks for.
#[derive(Clone, Copy)]
pub(crate) struct Sought<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) codec: u8,
    pub(crate) generation: u128,
    pub(crate) terms: Terms,
}

/// For how long a function's values may be served.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Terms {
    pub(crate) windows: Windows,
    /// Nanoseconds of `idle_timeout`.
    pub(crate) idle: Option<u64>,
}

const MILLISECOND: u64 = 1_000_000;

impl Terms {
    /// The times of a value, by the clock on the wall. Its record says how long it is fresh; the windows are those
    /// of the function as it is now.
    pub(crate) fn times(self, record: &Record<'_>) -> Times {
        let end = record.expires.map(moment).map(|end| end.saturating_add(self.windows.longest()));
        Times { deadline: end.unwrap_or(NEVER), touched: moment(record.written) }
    }

    pub(crate) fn freshness(self, times: Times, ahead: u64, now: Wall) -> Freshness {
        times.freshness(self.windows, self.idle, ahead, moment(now))
    }
}

/// Nanoseconds since 1970.
pub(crate) fn moment(wall: Wall) -> Moment {
    wall.saturating_mul(MILLISECOND)
}

impl Sought<'_> {
    pub(crate) fn judge<'a>(&self, found: Option<&'a Found>, now: Wall) -> Verdict<'a> {
        let Some(found) = found else { return Verdict::Nothing };
        let Some(record) = Record::decode(&found.value) else { return Verdict::Foreign };
        // The full key: that a hash is the same says too little.
        if record.key != self.key {
            return Verdict::Foreign;
        }
        if record.generation != self.generation {
            return Verdict::Nothing;
        }
        match record.kind {
            Kind::Value if record.codec == self.codec => {
                let freshness = self.terms.freshness(self.terms.times(&record), 0, now);
                if freshness == Freshness::Expired { Verdict::Nothing } else { Verdict::Value(record) }
            }
            // Nobody waits longer than a lease, and most of these end with the engine's time to live: so clocks that
            // differ matter little. One in the place of an invalidation stays as long as that, which is longer than
            // it holds.
            Kind::Claim => match claimed(&record) {
                None => Verdict::Foreign,
                Some((_, Some(_))) if record.expires.is_some_and(|expires| expires <= now) => {
                    Verdict::Nothing
                }
                Some((number, _)) => Verdict::Claim(number),
            },
            Kind::Released => {
                claimed(&record).map_or(Verdict::Foreign, |(number, _)| Verdict::Released(number))
            }
            Kind::Value | Kind::Tombstone => Verdict::Nothing,
            Kind::Generation => Verdict::Foreign,
        }
    }
}

/// What a claim says, and what is left of it: its number, and the fence in whose place it is.
pub(crate) fn claim(number: u128, fence: Option<u128>) -> [u8; 32] {
    let mut payload = [0; 32];
    payload[..16].copy_from_slice(&number.to_le_bytes());
    payload[16..].copy_from_slice(&fence.unwrap_or_default().to_le_bytes());
    payload
}

/// The same, read.
pub(crate) fn claimed(record: &Record<'_>) -> Option<(u128, Option<u128>)> {
    let (own, fence) = record.payload.split_at_checked(16)?;
    Some((number(own)?, Some(number(fence)?).filter(|fence| *fence != 0)))
}

/// What a mark says after its number.
const MARK: &[u8] = b"mark";

/// What a tombstone says: a number that no other has, and whether it stands for no invalidation, but keeps a place in
/// which there was nothing.
pub(crate) fn tombstone(number: u128, is_mark: bool) -> Vec<u8> {
    let mark = if is_mark { MARK } else { &[] };
    [&number.to_le_bytes(), mark].concat()
}

pub(crate) fn is_mark(record: &Record<'_>) -> bool {
    record.kind == Kind::Tombstone && record.payload.get(16..) == Some(MARK)
}

/// The fence that a record is, or is in the place of: the number of the last tombstone of a key, until there is a value
/// or nothing. Two records with the same one have had no invalidation between them.
pub(crate) fn fence(record: &Record<'_>) -> Option<u128> {
    match record.kind {
        Kind::Tombstone => number(record.payload.get(..16)?),
        Kind::Claim | Kind::Released => claimed(record)?.1,
        Kind::Value | Kind::Generation => None,
    }
}

/// The number that a payload is.
pub(crate) fn number(payload: &[u8]) -> Option<u128> {
    payload.try_into().ok().map(u128::from_le_bytes)
}

/// The generation that was found, if it is one of this key, and when it ends.
pub(crate) fn generation(found: Option<&Found>, key: &[u8]) -> Option<(u128, Option<Wall>)> {
    let record = Record::decode(&found?.value)?;
    let number = number(record.payload)?;
    (record.kind == Kind::Generation && record.key == key).then_some((number, record.expires))
}

/// What must still be there when something is written in its place.
pub(crate) fn unchanged(found: Option<&Found>) -> Expected {
    match found {
        None => Expected::Nothing,
        Some(Found { version: Some(version), .. }) => Expected::Version(*version),
        Some(Found { version: None, .. }) => Expected::Anything,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::driver::Version;

    const TERMS: Terms = Terms { windows: Windows { revalidate: 0, on_error: 0 }, idle: None };
    const SOUGHT: Sought<'_> = Sought { key: b"key", codec: b'm', generation: 7, terms: TERMS };
    const VALUE: Record<'_> = Record {
        kind: Kind::Value,
        codec: b'm',
        written: 1000,
        expires: Some(2000),
        cost: 0,
        generation: 7,
        key: b"key",
        payload: b"payload",
    };

    #[test]
    fn only_what_was_looked_for_is_used() {
        let (numbered, fenced) = (&claim(9, None)[..], &claim(9, Some(5))[..]);
        let claim = Record { kind: Kind::Claim, payload: numbered, ..VALUE };
        let fenced = Record { payload: fenced, ..claim };
        let released = Record { kind: Kind::Released, payload: numbered, ..VALUE };
        for (record, now, expected) in [
            (VALUE, 1999, Verdict::Value(VALUE)),
            (VALUE, 2000, Verdict::Nothing),
            (Record { expires: None, ..VALUE }, 1 << 40, Verdict::Value(Record { expires: None, ..VALUE })),
            (Record { generation: 8, ..VALUE }, 1000, Verdict::Nothing),
            (Record { codec: b'j', ..VALUE }, 1000, Verdict::Nothing),
            (Record { key: b"other", ..VALUE }, 1000, Verdict::Foreign),
            (Record { kind: Kind::Tombstone, ..VALUE }, 1000, Verdict::Nothing),
            (Record { kind: Kind::Generation, ..VALUE }, 1000, Verdict::Foreign),
            (claim, 1000, Verdict::Claim(9)),
            (claim, 2000, Verdict::Claim(9)),
            (fenced, 1999, Verdict::Claim(9)),
            (fenced, 2000, Verdict::Nothing),
            (Record { generation: 8, ..claim }, 1000, Verdict::Nothing),
            (Record { payload: b"9", ..claim }, 1000, Verdict::Foreign),
            (released, 1000, Verdict::Released(9)),
        ] {
            let found = Found { value: record.encode().expect("it is short"), version: None };
            assert_eq!(SOUGHT.judge(Some(&found), now), expected, "{record:?} at {now}");
        }
        assert_eq!(SOUGHT.judge(None, 0), Verdict::Nothing);
        let foreign = Found { value: b"something else".to_vec(), version: None };
        assert_eq!(SOUGHT.judge(Some(&foreign), 0), Verdict::Foreign);
    }

    #[test]
    fn a_value_is_of_use_until_the_end_of_the_windows_and_while_it_is_not_idle() {
        let windows = Windows { revalidate: 500 * MILLISECOND, on_error: 0 };
        let terms = Terms { windows, idle: None };
        let idle = Terms { idle: Some(800 * MILLISECOND), ..TERMS };
        let both = Terms { idle: idle.idle, windows };
        let fresh = Freshness::Fresh;
        let stale = Freshness::Stale { revalidate: true, on_error: false };
        let expired = Freshness::Expired;
        for (terms, now, expected) in [
            (TERMS, 1999, fresh),
            (TERMS, 2000, expired),
            (terms, 1999, fresh),
            (terms, 2000, stale),
            (terms, 2499, stale),
            (terms, 2500, expired),
            (idle, 1799, fresh),
            (idle, 1800, expired),
            (both, 1800, expired),
        ] {
            assert_eq!(terms.freshness(terms.times(&VALUE), 0, now), expected, "{terms:?} at {now}");
            let found = Found { value: VALUE.encode().expect("it is short"), version: None };
            let verdict = Sought { terms, ..SOUGHT }.judge(Some(&found), now);
            assert_eq!(verdict == Verdict::Nothing, expected == expired, "{terms:?} at {now}");
        }
        let endless = Record { expires: None, ..VALUE };
        assert_eq!(terms.freshness(terms.times(&endless), 0, 1 << 40), fresh);
    }

    #[test]
    fn claims_keep_the_fence_in_whose_place_they_are() {
        let (tombstone, mark) = (tombstone(7, false), tombstone(8, true));
        let claimed_over = |fence| claim(9, fence);
        let (free, over) = (claimed_over(None), claimed_over(Some(7)));
        for (kind, payload, expected, is_a_mark) in [
            (Kind::Tombstone, &tombstone[..], Some(7), false),
            (Kind::Tombstone, &mark, Some(8), true),
            (Kind::Claim, &free, None, false),
            (Kind::Claim, &over, Some(7), false),
            (Kind::Released, &over, Some(7), false),
            (Kind::Value, &over, None, false),
            (Kind::Claim, b"short", None, false),
        ] {
            let record = Record { kind, payload, ..VALUE };
            assert_eq!((fence(&record), is_mark(&record)), (expected, is_a_mark), "{record:?}");
        }
        let record = Record { kind: Kind::Claim, payload: &over, ..VALUE };
        assert_eq!(claimed(&record), Some((9, Some(7))));
    }

    #[test]
    fn what_is_written_replaces_only_what_was_read() {
        let found = |version| Found { value: Vec::new(), version };
        assert_eq!(unchanged(None), Expected::Nothing);
        assert_eq!(unchanged(Some(&found(Some(Version(3))))), Expected::Version(Version(3)));
        assert_eq!(unchanged(Some(&found(None))), Expected::Anything);
    }
}
