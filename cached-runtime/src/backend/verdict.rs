//! What was found under a key, judged.

use super::driver::{Expected, Found};
use super::envelope::{Kind, Record, Wall};

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
            Kind::Value if record.has_expired(now) => Verdict::Nothing,
            Kind::Value if record.codec == self.codec => Verdict::Value(record),
            // These end with the engine's time to live, and nobody waits longer than a lease: clocks that differ
            // do not matter.
            Kind::Claim => number(record.payload).map_or(Verdict::Foreign, Verdict::Claim),
            Kind::Released => number(record.payload).map_or(Verdict::Foreign, Verdict::Released),
            Kind::Value | Kind::Tombstone => Verdict::Nothing,
            Kind::Generation => Verdict::Foreign,
        }
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

    const SOUGHT: Sought<'_> = Sought { key: b"key", codec: b'm', generation: 7 };
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
        let numbered = &9_u128.to_le_bytes()[..];
        let claim = Record { kind: Kind::Claim, payload: numbered, ..VALUE };
        let released = Record { kind: Kind::Released, payload: numbered, ..VALUE };
        for (record, now, expected) in [
            (VALUE, 1999, Verdict::Value(VALUE)),
            (VALUE, 2000, Verdict::Nothing),
            (Record { expires: None, ..VALUE }, u64::MAX, Verdict::Value(Record { expires: None, ..VALUE })),
            (Record { generation: 8, ..VALUE }, 1000, Verdict::Nothing),
            (Record { codec: b'j', ..VALUE }, 1000, Verdict::Nothing),
            (Record { key: b"other", ..VALUE }, 1000, Verdict::Foreign),
            (Record { kind: Kind::Tombstone, ..VALUE }, 1000, Verdict::Nothing),
            (Record { kind: Kind::Generation, ..VALUE }, 1000, Verdict::Foreign),
            (claim, 1000, Verdict::Claim(9)),
            (claim, 2000, Verdict::Claim(9)),
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
    fn what_is_written_replaces_only_what_was_read() {
        let found = |version| Found { value: Vec::new(), version };
        assert_eq!(unchanged(None), Expected::Nothing);
        assert_eq!(unchanged(Some(&found(Some(Version(3))))), Expected::Version(Version(3)));
        assert_eq!(unchanged(Some(&found(None))), Expected::Anything);
    }
}
