//! What the feature `testing` must not change: the path of a call in the store of the process.

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::thread;

use cached_runtime::{cached, store};

/// One test, since there is one store: its parts are told apart by their functions.
#[test]
fn a_call_in_the_store_of_the_process() {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    #[cached(timeout = 300, capacity = 2)]
    fn item(n: u8) -> u32 {
        let _ = n;
        RUNS.fetch_add(1, SeqCst) + 1
    }
    #[cached(timeout = 300)]
    fn first_called_while_disabled(n: u8) -> u8 {
        n
    }

    assert_eq!((item(1), item(1)), (1, 1), "the second is a hit");
    assert_eq!(item::refresh(1), 2);
    assert_eq!(item::uncached(1), 3);
    assert_eq!((item(1), item::peek(1)), (2, Some(2)));
    assert!(item::invalidate(1) && !item::invalidate(1));
    assert_eq!(item(1), 4);
    (2..10).for_each(|n| {
        item(n);
    });
    assert_eq!(item::stats().entries, 2, "the capacity is kept");

    store().set_enabled(false);
    assert_eq!(first_called_while_disabled(1), 1);
    item(1);
    assert_eq!((first_called_while_disabled::stats().bypassed, item::stats().bypassed), (1, 2));
    store().set_enabled(true);
    assert_eq!(first_called_while_disabled::stats().misses, 0);
    first_called_while_disabled(1);
    assert_eq!(first_called_while_disabled::stats().misses, 1);

    let runs = RUNS.load(SeqCst);
    let results: Vec<u32> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| item(200))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(results, [runs + 1; 8], "one of them ran the body");

    store().clear();
    assert_eq!((item::stats().entries, item::peek(200)), (0, None));
}
