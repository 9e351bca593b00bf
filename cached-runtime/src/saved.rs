//! Entries that outlive the process in a file: `Store::save` and `Store::load`, and the calls of functions whose
//! entries are in it.
//!
//! A function's tables are made by its first call. What was loaded waits until then, as it stands in the file
//! ([`Waiting`]), and is taken over by the call before it looks anything up. To take entries over is, for the
//! shards, a computation of all keys: what is invalidated meanwhile is fenced.

mod file;
mod key;
mod waiting;

use std::any::type_name;
use std::collections::HashMap;
use std::io;
use std::marker::PhantomData;
use std::path::Path;

pub(crate) use key::{FileKey, KeyCoding};
pub use key::{SavedKey, in_file};
pub(crate) use waiting::{Found, Waiting};

use crate::backend::encode::Encoder;
use crate::backend::envelope::Record;
use crate::backend::shared::Coded;
use crate::backend::{Place, name};
use crate::call::{Call, Lookup, Step, TableOf, begin_if};
use crate::clock::Date;
use crate::epoch;
use crate::function::{Function, State};
use crate::outcome::Outcome;
use crate::policy::resaved;
use crate::store::Inner;
use crate::store::saving::Saving;
use file::{Draft, Records};

/// What [`Store::save`](crate::Store::save) has written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Saved {
    /// Entries that are in the file.
    pub entries: u64,
    /// Entries that are not, as they cannot be encoded or would come back as others.
    pub left_out: u64,
}

/// What [`Store::load`](crate::Store::load) has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loaded {
    /// Entries that were stored. Of more than the capacity, some have gone again.
    pub entries: u64,
    /// Entries of functions that have not been called: they are decoded by the first call.
    pub waiting: u64,
    /// Entries that have expired, that cannot be decoded, or whose key has a newer value.
    pub skipped: u64,
    /// Whether the file was undamaged to its end. Otherwise what follows the damage is lost.
    pub is_whole: bool,
}

/// What the attribute says of a function whose entries are saved.
#[derive(Clone, Copy)]
pub struct Label {
    place: Option<Place>,
    version: u32,
}

#[expect(missing_docs, reason = "seen by the expansion alone")]
impl Label {
    #[expect(clippy::new_without_default, reason = "written by the attribute alone, in a const")]
    #[must_use]
    pub const fn new() -> Self {
        Self { place: None, version: 0 }
    }

    /// Where the function stands, and a hash of its text, if its name does not tell it from others.
    #[must_use]
    pub const fn place(mut self, place: fn() -> &'static str, text: u64) -> Self {
        self.place = Some((place, text));
        self
    }

    #[must_use]
    pub const fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// What the function is called in files.
    pub(crate) fn id(&self, name: &str) -> u128 {
        let mut text = format!("v{}:{name}", self.version);
        if let Some((place, hash)) = self.place {
            text.push('\n');
            text.push_str(&name::of_place(place(), name, hash));
        }
        let hash = blake3::hash(text.as_bytes());
        hash.as_bytes().first_chunk().map_or(0, |half| u128::from_le_bytes(*half))
    }
}

/// [`begin_if`] of a function whose entries are saved.
#[expect(clippy::inline_always, reason = "a hit is cheaper where its value need not pass through memory")]
#[expect(clippy::needless_pass_by_value, reason = "the expansion hands over what it has made")]
#[inline(always)]
pub fn begin_saved<G: ?Sized, P: FileKey, O: Outcome>(
    lookup: Lookup,
    function: &'static Function,
    coded: Coded<O>,
    identity: PhantomData<G>,
    key: P,
) -> Step<O> {
    keep::<G, P, O>(function, &coded, &key);
    begin_if(lookup, function, coded.outcome, identity, key)
}

/// The same for a call that nobody makes.
#[expect(clippy::needless_pass_by_value, reason = "the expansion hands over what it has made")]
pub(crate) fn entry_saved<G: ?Sized, P: FileKey, O: Outcome>(
    function: &'static Function,
    coded: Coded<O>,
    identity: PhantomData<G>,
    key: P,
) -> Call<O> {
    keep::<G, P, O>(function, &coded, &key);
    Call::new(function, Lookup::new(), coded.outcome, identity, &key)
}

/// Sees to it that the entries of a table are saved, and that it has what was loaded for it.
#[inline]
fn keep<G: ?Sized, P: FileKey, O: Outcome>(function: &'static Function, coded: &Coded<O>, key: &P) {
    let table: &'static TableOf<O, P> = function.state().table::<G, P, _>();
    if !table.is_saved() && epoch::lives() {
        keep_from_now::<G, P, O>(function, table, coded, key);
    }
}

#[cold]
#[inline(never)]
fn keep_from_now<G: ?Sized, P: FileKey, O: Outcome>(
    function: &'static Function,
    table: &'static TableOf<O, P>,
    coded: &Coded<O>,
    key: &P,
) {
    let Some(function) = function.id_in_file() else { return };
    let mut types = Encoder::default();
    if typeid::of::<G>() != typeid::of::<()>() && types.item(type_name::<G>()).is_err() {
        return;
    }
    table.save_as(Saving {
        function,
        types: types.into_bytes(),
        key: key.coding(),
        value: coded.coding,
        is_negative: |value| O::NEW.is_stored_negative(value),
    });
}

/// Writes the entries of all functions that are saved.
pub(crate) fn save(store: &'static Inner, path: &Path) -> io::Result<Saved> {
    let mut draft = Draft::create(path)?;
    let mut saved = Saved::default();
    for table in store.functions().into_iter().flat_map(State::tables) {
        let (entries, left_out) = table.save(&mut |record| draft.push(record))?;
        saved.entries += entries;
        saved.left_out += left_out;
    }
    let now = store.clock.date();
    for Found { at, records } in store.waiting.all() {
        for record in records {
            let Some(record) = saved_again(&record, at, now) else { continue };
            draft.push(&record)?;
            saved.entries += 1;
        }
    }
    draft.finish()?;
    Ok(saved)
}

/// In milliseconds.
const DAY: u64 = 24 * 60 * 60 * 1000;

/// A record that was loaded, and not used, as of now.
fn saved_again(record: &[u8], at: Date, now: Date) -> Option<Vec<u8>> {
    let record = Record::decode(record)?;
    // What windows its function has is not known here, nor whether there still is one.
    if record.expires.is_some_and(|expires| expires.saturating_add(DAY) < now.wall) {
        return None;
    }
    let expires = record.expires.map(|expires| resaved(record.written, expires, at, now));
    Record { written: now.wall, expires, ..record }.encode()
}

/// Takes over what is in a file.
pub(crate) fn load(store: &'static Inner, path: &Path) -> io::Result<Loaded> {
    let bytes = std::fs::read(path)?;
    let mut records = Records::of(&bytes)?;
    let at = store.clock.date();
    let mut found: HashMap<u128, Found> = HashMap::new();
    for (function, record) in &mut records {
        let of_function = found.entry(function).or_insert_with(|| Found { at, records: Vec::new() });
        of_function.records.push(record.into());
    }
    let functions: Vec<u128> = found.keys().copied().collect();
    // First, so that a table that is made meanwhile finds it.
    store.waiting.replace(found);
    let mut loaded = Loaded { is_whole: records.is_whole(), ..Loaded::default() };
    for table in store.functions().into_iter().flat_map(State::tables) {
        let (entries, skipped) = table.restore();
        loaded.entries += entries;
        loaded.skipped += skipped;
    }
    loaded.waiting = store.waiting.count(&functions);
    Ok(loaded)
}
