//! Who computes what within what, and who waits for whom: so that no wait closes a circle.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::shim::thread_local;

/// A running computation, and the one within whose body it began.
#[derive(Clone)]
pub(crate) struct Course {
    number: u64,
    within: Option<Arc<Course>>,
}

thread_local! {
    /// The innermost computation whose body this thread is running.
    static CURRENT: RefCell<Option<Course>> = const { RefCell::new(None) };
}

fn current() -> Option<Course> {
    CURRENT.try_with(|current| current.borrow().clone()).ok().flatten()
}

impl Course {
    /// Of the computation of this number.
    pub(crate) fn begin(number: u64) -> Self {
        Self { number, within: current().map(Arc::new) }
    }

    /// This computation and those around it, innermost first.
    fn chain(&self) -> impl Iterator<Item = u64> {
        std::iter::successors(Some(self), |course| course.within.as_deref()).map(|it| it.number)
    }
}

/// Makes this the current computation until the guard is dropped.
pub(crate) fn enter(course: Course) -> Entered {
    Entered(CURRENT.try_with(|current| current.replace(Some(course))).ok().flatten())
}

pub(crate) struct Entered(Option<Course>);

impl Drop for Entered {
    fn drop(&mut self) {
        let _ = CURRENT.try_with(|current| current.replace(self.0.take()));
    }
}

/// Who waits for whom: from each computation to those that it, or one within it, waits for.
static WAITING: Mutex<Option<HashMap<u64, Vec<u64>>>> = Mutex::new(None);

/// Stands for the current computation's waiting for another.
pub(crate) struct Waiting {
    by: Option<Course>,
    to: u64,
}

impl Waiting {
    /// Begins to wait, unless the wait would close a circle and never end: unless the computation of
    /// this number is one of those that this thread or task is running, or waits, itself or through
    /// others, for one of them.
    pub(crate) fn begin(to: u64) -> Option<Self> {
        let Some(by) = current() else {
            // Nobody can be waiting for who computes nothing.
            return Some(Self { by: None, to });
        };
        let own: Vec<u64> = by.chain().collect();
        let mut waiting = WAITING.lock();
        let edges = waiting.get_or_insert_default();
        if leads_to(edges, to, &own) {
            return None;
        }
        for course in own {
            edges.entry(course).or_default().push(to);
        }
        drop(waiting);
        Some(Self { by: Some(by), to })
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let Some(by) = &self.by else { return };
        let mut waiting = WAITING.lock();
        let edges = waiting.get_or_insert_default();
        for course in by.chain() {
            let Some(targets) = edges.get_mut(&course) else { continue };
            if let Some(at) = targets.iter().position(|target| *target == self.to) {
                targets.swap_remove(at);
            }
            if targets.is_empty() {
                edges.remove(&course);
            }
        }
        if edges.is_empty() {
            *waiting = None;
        }
    }
}

/// Whether a path leads from `from` to one of `goals`.
fn leads_to(edges: &HashMap<u64, Vec<u64>>, from: u64, goals: &[u64]) -> bool {
    let mut open = vec![from];
    let mut seen = HashSet::new();
    while let Some(course) = open.pop() {
        if goals.contains(&course) {
            return true;
        }
        if seen.insert(course) {
            open.extend(edges.get(&course).into_iter().flatten());
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;

    #[test]
    fn a_path_is_found_through_others_and_circles_do_not_trap_the_search() {
        let edges = HashMap::from([(1, vec![2, 3]), (2, vec![1]), (3, vec![4])]);
        for (from, goals, expected) in
            [(1, &[4][..], true), (2, &[4], true), (4, &[1, 2, 3], false), (1, &[9], false), (7, &[7], true)]
        {
            assert_eq!(leads_to(&edges, from, goals), expected, "{from} to {goals:?}");
        }
    }

    fn begin() -> Course {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Course::begin(NEXT.fetch_add(1, Relaxed))
    }

    #[test]
    fn who_computes_nothing_may_wait_for_anybody() {
        assert!(Waiting::begin(begin().number).is_some());
    }

    #[test]
    fn nobody_waits_for_a_computation_that_it_is_part_of() {
        let outer = begin();
        let _outer = enter(outer.clone());
        let inner = begin();
        let _inner = enter(inner.clone());
        assert!(Waiting::begin(outer.number).is_none());
        assert!(Waiting::begin(inner.number).is_none());
    }

    #[test]
    fn nobody_waits_for_who_waits_for_them_through_others() {
        let [a, b, c] = [(); 3].map(|()| begin());
        let wait = |by: &Course, target: &Course| {
            let _entered = enter(by.clone());
            Waiting::begin(target.number)
        };
        let a_for_b = wait(&a, &b);
        let b_for_c = wait(&b, &c);
        assert!(a_for_b.is_some() && b_for_c.is_some());
        assert!(wait(&c, &a).is_none());
        drop(b_for_c);
        assert!(wait(&c, &a).is_some());
    }
}
