//! The runtime under another name, by `crate = …`.

#![deny(warnings)]

pub use cached_tests_prelude::cache;

/// With the dependency renamed.
#[memo::cached(timeout = 60, crate = memo)]
pub fn renamed(n: u64) -> u64 {
    n + 1
}

/// Through the crate that hands it on, with an argument under a condition.
#[cache::cached(crate = cached_tests_prelude::cache)]
pub fn handed_on(n: u64, #[cfg(any())] gone: f64) -> u64 {
    n + 2
}

/// Through this crate itself.
#[cache::cached(crate = crate::cache)]
pub async fn from_here(n: u64) -> u64 {
    n + 3
}

/// A writer, of what has tags.
#[cache::updates(written(n), crate = crate::cache)]
#[memo::invalidates(renamed(n), tag("{n}"), crate = memo)]
pub fn write(n: u64) -> u64 {
    n + 5
}

/// Has tags.
#[cache::cached(tags("{n}"), crate = crate::cache)]
pub fn written(n: u64) -> u64 {
    n
}

#[cfg(test)]
mod tests {
    // Items named like ours, and like those of the standard library.
    mod core {}
    mod std {}
    #[expect(dead_code)]
    struct Option;
    #[expect(dead_code)]
    struct Function;

    #[memo::cached(crate = memo)]
    fn among_others(n: u64) -> u64 {
        n + 4
    }

    #[test]
    fn it_works_under_every_name() {
        for _ in 0..2 {
            assert_eq!((super::renamed(1), super::handed_on(1), among_others(1)), (2, 3, 5));
        }
        assert_eq!((super::renamed::stats().hits, super::handed_on::stats().hits), (1, 1));
        assert_eq!(memo::store().functions().len(), 3);
        super::write(1);
        assert_eq!((super::renamed::peek(1), super::written(1)), (None, 6));
    }
}
