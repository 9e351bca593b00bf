//! What a server holds from before it was away.
//!
//! While it is away, its keys are on others, where they are replaced and removed; what it still has of them
//! when it is back must not be found again. A server gives each item that it stores a higher `cas unique`
//! than any before. So it is enough to know which one it had reached when it was back: an item below that
//! floor counts as absent.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use parking_lot::Mutex;

/// The absences of one server, as this process has seen them.
#[derive(Debug, Default)]
pub(super) struct Absences {
    count: AtomicU64,
    floor: Mutex<Floor>,
}

#[derive(Debug, Default)]
struct Floor {
    cas: u64,
    /// So many absences ended before it was read.
    after: u64,
}

/// The last absence of a server whose floor has not been read since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Absence(u64);

impl Absences {
    /// From now on, or just now, another server was used in its place.
    pub(super) fn add(&self) {
        self.count.fetch_add(1, SeqCst);
    }

    /// The least `cas unique` of what counts as present; zero for a server that was never away.
    pub(super) fn floor(&self) -> Result<u64, Absence> {
        let count = self.count.load(SeqCst);
        if count == 0 {
            return Ok(0);
        }
        let floor = self.floor.lock();
        if floor.after == count { Ok(floor.cas) } else { Err(Absence(count)) }
    }

    /// The server was asked after that absence, and had reached this. Of several who asked, the first to say
    /// so is believed: what the server has stored since is to be found.
    pub(super) fn end(&self, Absence(count): Absence, cas: u64) {
        let mut floor = self.floor.lock();
        if floor.after < count {
            *floor = Floor { cas, after: count };
        }
    }

    /// The server has reached `cas` long after it had reached `floor`. If that is less, it has begun anew
    /// without anybody's noticing, and holds nothing from before.
    pub(super) fn has_reached(&self, cas: u64, floor: u64) {
        let mut known = self.floor.lock();
        if known.cas == floor && cas <= floor {
            known.cas = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_holds_until_the_next_absence() {
        let absences = Absences::default();
        assert_eq!(absences.floor(), Ok(0));
        absences.add();
        let first = absences.floor().unwrap_err();
        absences.end(first, 7);
        absences.end(first, 9);
        assert_eq!(absences.floor(), Ok(7), "the first who says so");
        absences.add();
        let second = absences.floor().unwrap_err();
        absences.end(first, 11);
        assert_eq!(absences.floor(), Err(second), "who asked before the absence knows nothing of it");
        absences.end(second, 13);
        assert_eq!(absences.floor(), Ok(13));
    }

    #[test]
    fn a_server_that_counts_from_one_again_has_no_floor() {
        let absences = Absences::default();
        absences.add();
        absences.end(absences.floor().unwrap_err(), 7);
        absences.has_reached(8, 7);
        assert_eq!(absences.floor(), Ok(7));
        absences.has_reached(2, 6);
        assert_eq!(absences.floor(), Ok(7), "that was another floor");
        absences.has_reached(7, 7);
        assert_eq!(absences.floor(), Ok(0));
    }
}
