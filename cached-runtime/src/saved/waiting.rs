//! What was loaded for tables that are not there yet.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::clock::Date;

/// Records by what their function is called in files. Never more than were in the last file that had any of the
/// function.
#[derive(Default)]
pub(crate) struct Waiting(Mutex<HashMap<u128, Found>>);

/// What was found of a function.
#[derive(Clone)]
pub(crate) struct Found {
    /// When it was loaded.
    pub(crate) at: Date,
    pub(crate) records: Vec<Arc<[u8]>>,
}

impl Waiting {
    /// Takes the place of what waits for the same functions.
    pub(super) fn replace(&self, found: HashMap<u128, Found>) {
        self.0.lock().extend(found);
    }

    /// Hands over what there is for a table of a function.
    pub(crate) fn take(&self, function: u128, is_of_table: impl Fn(&[u8]) -> bool) -> Option<Found> {
        let mut waiting = self.0.lock();
        let Found { at, records } = waiting.remove(&function)?;
        let (taken, left): (Vec<_>, Vec<_>) = records.into_iter().partition(|record| is_of_table(record));
        if !left.is_empty() {
            waiting.insert(function, Found { at, records: left });
        }
        Some(Found { at, records: taken })
    }

    /// Of a function.
    pub(crate) fn forget(&self, function: u128) {
        self.0.lock().remove(&function);
    }

    pub(crate) fn clear(&self) {
        self.0.lock().clear();
    }

    pub(super) fn all(&self) -> Vec<Found> {
        self.0.lock().values().cloned().collect()
    }

    /// How many there are of some functions.
    pub(super) fn count(&self, functions: &[u128]) -> u64 {
        let waiting = self.0.lock();
        functions.iter().filter_map(|function| waiting.get(function)).map(|it| it.records.len() as u64).sum()
    }
}
