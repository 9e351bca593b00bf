//! When which entries expire: of each bucket the soonest moment, of each group of buckets the soonest
//! of those. That takes a byte or two an entry. A moment that is noted may be too early, as nothing is
//! noted when an entry goes or lives on; it is put right when it comes.

use super::index::Place;
use crate::clock::{Moment, NEVER};

const GROUP: usize = 64;

/// The notes of one half of the index.
#[derive(Default)]
struct Half {
    buckets: Vec<Note>,
    groups: Vec<Note>,
}

/// A moment as its distance from the end of time, so that zeroed memory is notes of nothing.
type Note = u64;

fn note_of(moment: Moment) -> Note {
    NEVER - moment
}

impl Half {
    /// A bucket of this group that is due; the note of the group is put right if there is none.
    fn due_in(&mut self, group: usize, now: Note) -> Option<usize> {
        let first = group * GROUP;
        let buckets = &self.buckets[first..self.buckets.len().min(first + GROUP)];
        if let Some(at) = buckets.iter().position(|note| *note >= now) {
            return Some(first + at);
        }
        self.groups[group] = buckets.iter().copied().max().unwrap_or(0);
        None
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct Expiries {
    halves: [Half; 2],
    /// The half and the group to look at next.
    cursor: (usize, usize),
}

impl Expiries {
    /// Notes when the entry at a place, in a half of so many buckets, expires.
    pub(super) fn note(&mut self, place: Place, buckets: usize, moment: Moment) {
        let (half, bucket) = (&mut self.halves[place.half()], place.bucket());
        if half.buckets.len() < buckets {
            half.buckets = vec![0; buckets];
            half.groups = vec![0; buckets.div_ceil(GROUP)];
        }
        let note = note_of(moment);
        half.buckets[bucket] = half.buckets[bucket].max(note);
        half.groups[bucket / GROUP] = half.groups[bucket / GROUP].max(note);
    }

    /// Lets go of the notes of a half in which nothing is left.
    pub(super) fn release(&mut self, half: usize) {
        self.halves[half] = Half::default();
    }

    /// Notes the moment of a bucket that has been looked at.
    pub(super) fn settle(&mut self, half: usize, bucket: usize, moment: Moment) {
        self.halves[half].buckets[bucket] = note_of(moment);
    }

    /// A bucket, and its half, in which something may have expired by now.
    pub(super) fn due(&mut self, now: Moment) -> Option<(usize, usize)> {
        let now = note_of(now);
        let (half, group) = self.cursor;
        let all =
            [(half, group..self.halves[half].groups.len()), (1 - half, 0..usize::MAX), (half, 0..group)];
        for (half, groups) in all {
            for group in groups.start..groups.end.min(self.halves[half].groups.len()) {
                if self.halves[half].groups[group] >= now
                    && let Some(bucket) = self.halves[half].due_in(group, now)
                {
                    self.cursor = (half, group);
                    return Some((half, bucket));
                }
            }
        }
        self.cursor = (0, 0);
        None
    }

    /// The first moment at which something may expire.
    pub(super) fn soonest(&self) -> Moment {
        let notes = self.halves.iter().flat_map(|half| &half.groups);
        NEVER - notes.copied().max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::store::cases;

    fn place(half: u32, bucket: u32) -> Place {
        Place::from_bits((half << 31) | (bucket * 7))
    }

    #[test]
    fn what_is_due_is_found_in_either_half_and_nothing_else_is() {
        let mut expiries = Expiries::default();
        for (place, moment) in
            [(place(0, 3), 10), (place(1, 450), 20), (place(0, 199), 30), (place(1, 0), 30)]
        {
            expiries.note(place, [200, 500][place.half()], moment);
        }
        assert_eq!(expiries.soonest(), 10);
        assert_eq!(expiries.due(9), None);
        let mut found = Vec::new();
        while let Some((half, bucket)) = expiries.due(29) {
            found.push((half, bucket));
            expiries.settle(half, bucket, NEVER);
        }
        assert_eq!(found, [(0, 3), (1, 450)]);
        assert_eq!((expiries.soonest(), expiries.due(29)), (30, None));
        expiries.settle(0, 199, 40);
        expiries.settle(1, 0, 35);
        assert_eq!((expiries.due(30), expiries.soonest()), (None, 35));
    }

    #[test]
    fn a_bucket_keeps_the_soonest_of_its_moments() {
        let mut expiries = Expiries::default();
        for moment in [30, 10, 20, NEVER] {
            expiries.note(place(0, 0), 1, moment);
        }
        assert_eq!(expiries.soonest(), 10);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Note(u32, u32, Moment),
        /// Asks what is due, so many times, and notes the first moment that is not when it is looked at.
        Due(Moment, usize, Moment),
        Release(u32),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let moment = || prop_oneof![9 => 1..100_u64, 1 => Just(NEVER)];
        let step = prop_oneof![
            8 => (0..2_u32, 0..200_u32, moment()).prop_map(|(half, bucket, at)| Step::Note(half, bucket, at)),
            3 => (0..100_u64, 0..20_usize, moment()).prop_map(|(now, most, next)| Step::Due(now, most, next)),
        ];
        prop::collection::vec(prop_oneof![50 => step, 1 => (0..2_u32).prop_map(Step::Release)], 0..200)
    }

    proptest! {
        #![proptest_config(cases(128))]
        #[test]
        fn nothing_that_is_due_is_missed_and_nothing_else_is_looked_at(steps in steps()) {
            let mut expiries = Expiries::default();
            let mut model: HashMap<(usize, usize), Moment> = HashMap::new();
            for step in steps {
                match step {
                    Step::Note(half, bucket, moment) => {
                        let place = place(half, bucket);
                        expiries.note(place, 200, moment);
                        let noted = model.entry((place.half(), place.bucket())).or_insert(NEVER);
                        *noted = moment.min(*noted);
                    }
                    Step::Due(now, most, next) => {
                        for _ in 0..most {
                            let Some((half, bucket)) = expiries.due(now) else {
                                prop_assert!(model.values().all(|moment| *moment > now));
                                prop_assert!(expiries.soonest() > now);
                                break;
                            };
                            prop_assert!(model[&(half, bucket)] <= now);
                            let next = if next > now { next } else { NEVER };
                            model.insert((half, bucket), next);
                            expiries.settle(half, bucket, next);
                        }
                    }
                    Step::Release(half) => {
                        expiries.release(half as usize);
                        model.retain(|(it, _), _| *it != half as usize);
                    }
                }
                let soonest = model.values().copied().min().unwrap_or(NEVER);
                prop_assert!(expiries.soonest() <= soonest, "early, never late");
            }
        }
    }
}
