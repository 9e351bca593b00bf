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
