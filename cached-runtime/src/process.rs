//! What a process has for itself: threads, and connections. After `fork()` the child has none of the threads of
//! its parent, and must not use its connections. It begins anew with what is of this type, and leaves what was the
//! parent's alone, locks and all.

use std::process;

use once_cell::race::OnceBox;

/// A value for each process, made when that first asks for it. To ask is a system call: this is not for hits.
pub(crate) struct PerProcess<T: 'static, F = fn() -> T> {
    make: F,
    first: OnceBox<Owned<T>>,
}

/// The value of one process, and of those that it has forked.
struct Owned<T: 'static> {
    process: u32,
    value: T,
    forked: OnceBox<Self>,
}

impl<T, F> PerProcess<T, F> {
    pub(crate) const fn new(make: F) -> Self {
        Self { make, first: OnceBox::new() }
    }
}

impl<T, F: Fn() -> T> PerProcess<T, F> {
    /// That of this process. Of several that are made at the same time, one stays.
    pub(crate) fn own(&self) -> &T {
        self.of(process::id())
    }

    /// That of the process which made the first one, without a system call; it may not be this one.
    #[cfg(feature = "backend")]
    pub(crate) fn first(&self) -> Option<&T> {
        Some(&self.first.get()?.value)
    }

    /// That of this process, if it was forked by one that had one.
    pub(crate) fn own_if_forked(&self) -> Option<&T> {
        let process = process::id();
        self.was_forked(process).then(|| self.of(process))
    }

    fn was_forked(&self, process: u32) -> bool {
        self.first.get().is_some_and(|first| first.process != process)
    }

    fn of(&self, process: u32) -> &T {
        let make = || Box::new(Owned { process, value: (self.make)(), forked: OnceBox::new() });
        let mut owned = self.first.get_or_init(make);
        while owned.process != process {
            owned = owned.forked.get_or_init(make);
        }
        &owned.value
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;

    #[test]
    fn each_process_has_one_of_its_own_and_keeps_it() {
        static MADE: AtomicU32 = AtomicU32::new(0);
        static OWN: PerProcess<u32> = PerProcess::new(|| MADE.fetch_add(1, Relaxed));
        assert!(!OWN.was_forked(7), "nobody has one");
        let of = |processes: [u32; 6]| processes.map(|process| *OWN.of(process));
        assert_eq!(of([7, 7, 8, 9, 9, 8]), [0, 0, 1, 2, 2, 1], "a parent, its child, and the child of that");
        assert_eq!(of([7, 8, 9, 10, 10, 7]), [0, 1, 2, 3, 3, 0]);
        assert_eq!([7, 8, 11].map(|process| OWN.was_forked(process)), [false, true, true]);
    }
}
