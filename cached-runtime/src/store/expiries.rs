//! When which entries expire: of each bucket the soonest moment, of each group of buckets the soonest
//! of those. That takes a byte or two an entry. A moment that is noted may be too early, as nothing is
//! noted when an entry goes or lives on; it is put right when it comes.

use crate::clock::{Moment, NEVER};

const GROUP: usize = 64;

struct Group {
    soonest: Moment,
    /// Of each bucket, once there is anything to note.
    buckets: Option<Box<[Moment; GROUP]>>,
}

impl Group {
    const NOTHING: Self = Self { soonest: NEVER, buckets: None };

    fn note(&mut self, bucket: usize) -> &mut Moment {
        &mut self.buckets.get_or_insert_with(|| Box::new([NEVER; GROUP]))[bucket]
    }

    /// A bucket that is due; the moment of the group is put right if there is none.
    fn due(&mut self, now: Moment) -> Option<usize> {
        if self.soonest > now {
            return None;
        }
        let buckets = self.buckets.as_deref()?;
        let due = buckets.iter().position(|moment| *moment <= now);
        if due.is_none() {
            self.soonest = buckets.iter().copied().min().unwrap_or(NEVER);
        }
        due
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct Expiries {
    groups: Vec<Group>,
    /// The group to look at next.
    cursor: usize,
}

impl Expiries {
    /// Notes when an entry of a bucket expires.
    pub(super) fn note(&mut self, bucket: usize, moment: Moment) {
        if self.groups.len() <= bucket / GROUP {
            self.groups.resize_with(bucket / GROUP + 1, || Group::NOTHING);
        }
        let group = &mut self.groups[bucket / GROUP];
        group.soonest = group.soonest.min(moment);
        let note = group.note(bucket % GROUP);
        *note = moment.min(*note);
    }

    /// Notes the moment of a bucket that has been looked at.
    pub(super) fn settle(&mut self, bucket: usize, moment: Moment) {
        if let Some(group) = self.groups.get_mut(bucket / GROUP) {
            *group.note(bucket % GROUP) = moment;
        }
    }

    /// A bucket in which something may have expired by now.
    pub(super) fn due(&mut self, now: Moment) -> Option<usize> {
        let groups = self.groups.len();
        for number in (self.cursor..groups).chain(0..self.cursor.min(groups)) {
            if let Some(bucket) = self.groups[number].due(now) {
                self.cursor = number;
                return Some(number * GROUP + bucket);
            }
        }
        self.cursor = 0;
        None
    }

    /// The first moment at which something may expire.
    pub(super) fn soonest(&self) -> Moment {
        self.groups.iter().map(|group| group.soonest).min().unwrap_or(NEVER)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::store::cases;

    #[test]
    fn what_is_due_is_found_and_nothing_else_is() {
        let mut expiries = Expiries::default();
        for (bucket, moment) in [(3, 10), (450, 20), (199, 30), (0, 30)] {
            expiries.note(bucket, moment);
        }
        assert_eq!(expiries.soonest(), 10);
        assert_eq!(expiries.due(9), None);
        let mut found = Vec::new();
        while let Some(bucket) = expiries.due(29) {
            found.push(bucket);
            expiries.settle(bucket, NEVER);
        }
        assert_eq!(found, [3, 450]);
        assert_eq!((expiries.soonest(), expiries.due(29)), (30, None));
        expiries.settle(199, 40);
        expiries.settle(0, 35);
        assert_eq!((expiries.due(30), expiries.soonest()), (None, 35));
    }

    #[test]
    fn a_bucket_keeps_the_soonest_of_its_moments() {
        let mut expiries = Expiries::default();
        for moment in [30, 10, 20, NEVER] {
            expiries.note(0, moment);
        }
        assert_eq!(expiries.soonest(), 10);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Note(usize, Moment),
        /// Asks what is due, so many times, and notes the first moment that is not when it is looked at.
        Due(Moment, usize, Moment),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let moment = || prop_oneof![9 => 1..100_u64, 1 => Just(NEVER)];
        let step = prop_oneof![
            8 => (0..400_usize, moment()).prop_map(|(bucket, at)| Step::Note(bucket, at)),
            3 => (0..100_u64, 0..20_usize, moment()).prop_map(|(now, most, next)| Step::Due(now, most, next)),
        ];
        prop::collection::vec(step, 0..200)
    }

    proptest! {
        #![proptest_config(cases(128))]
        #[test]
        fn nothing_that_is_due_is_missed_and_nothing_else_is_looked_at(steps in steps()) {
            let mut expiries = Expiries::default();
            let mut model: HashMap<usize, Moment> = HashMap::new();
            for step in steps {
                match step {
                    Step::Note(bucket, moment) => {
                        expiries.note(bucket, moment);
                        let noted = model.entry(bucket).or_insert(NEVER);
                        *noted = moment.min(*noted);
                    }
                    Step::Due(now, most, next) => {
                        for _ in 0..most {
                            let Some(bucket) = expiries.due(now) else {
                                prop_assert!(model.values().all(|moment| *moment > now));
                                prop_assert!(expiries.soonest() > now);
                                break;
                            };
                            prop_assert!(model[&bucket] <= now);
                            let next = if next > now { next } else { NEVER };
                            model.insert(bucket, next);
                            expiries.settle(bucket, next);
                        }
                    }
                }
                let soonest = model.values().copied().min().unwrap_or(NEVER);
                prop_assert!(expiries.soonest() <= soonest, "early, never late");
            }
        }
    }
}
