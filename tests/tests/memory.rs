//! What the store allocates, counted by the allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use cached_runtime::cached;

/// Counts the allocations and the bytes of each thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    static BYTES: Cell<isize> = const { Cell::new(0) };
}

#[expect(unsafe_code, reason = "an allocator cannot be written without")]
// SAFETY: everything is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        let _ = BYTES.try_with(|bytes| bytes.set(bytes.get() + layout.size().cast_signed()));
        // SAFETY: as promised by the caller.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let _ = BYTES.try_with(|bytes| bytes.set(bytes.get() - layout.size().cast_signed()));
        // SAFETY: as promised by the caller.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(call: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.get();
    call();
    ALLOCATIONS.get() - before
}

fn bytes_kept(call: impl FnOnce()) -> isize {
    let before = BYTES.get();
    call();
    BYTES.get() - before
}

#[derive(Clone, Hash, PartialEq, Eq)]
struct Query {
    text: String,
}

struct Repo {
    id: u32,
}

impl Repo {
    #[cached(key = (self.id, n))]
    fn load(&self, n: u32) -> u32 {
        n
    }
}

#[test]
fn a_hit_allocates_nothing() {
    #[cached(timeout = 300, idle_timeout = 100, capacity = 1000)]
    fn number(n: u64) -> u64 {
        n
    }
    #[cached(timeout = 300)]
    fn text(text: &str, bytes: &[u8]) -> Arc<str> {
        let _ = bytes;
        text.into()
    }
    #[cached]
    fn many(
        query: &Query,
        maybe: Option<&str>,
        texts: &[&str],
        owned: &Option<String>,
    ) -> Result<u8, String> {
        let _ = (query, maybe, texts, owned);
        Ok(1)
    }
    #[cached]
    fn generic<T: Clone + std::hash::Hash + Eq + Send + Sync + 'static>(value: &T) -> u8 {
        let _ = value;
        1
    }
    #[cached(timeout = 60)]
    async fn later(text: &str) -> usize {
        text.len()
    }
    fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
        pin!(future).poll(&mut Context::from_waker(Waker::noop()))
    }
    let query = Query { text: "query".to_owned() };
    let owned = Some("owned".to_owned());
    let repo = Repo { id: 1 };
    let calls = || {
        black_box(number(1));
        black_box(text("a", b"b"));
        let _ = black_box(many(&query, Some("m"), &["a", "b"], &owned));
        black_box(generic(&1_u8));
        black_box(generic(&query));
        black_box(repo.load(1));
        assert!(poll_once(later("text")).is_ready());
    };
    // A miss, and the first hit of this thread.
    (0..2).for_each(|_| calls());
    assert_eq!(allocations(|| (0..1000).for_each(|_| calls())), 0);
}

#[test]
fn an_idle_function_takes_less_than_a_kibibyte() {
    #[cached(timeout = 300)]
    fn first(n: u64) -> u64 {
        n
    }
    #[cached(timeout = 300)]
    fn second(n: u64) -> u64 {
        n
    }
    // What there is once in a process and once in a thread.
    first(1);
    let bytes = bytes_kept(|| {
        second(1);
    });
    assert!(bytes < 1024, "{bytes} bytes");
}

#[test]
fn a_million_short_flights_leave_no_memory_behind() {
    #[cached(timeout = 300, capacity = 16)]
    fn f(n: u64) -> u64 {
        n
    }
    (0..10_000).for_each(|n| {
        f(n);
    });
    let bytes = bytes_kept(|| {
        (0..1_000_000).for_each(|n| {
            f(n);
        });
    });
    // Removed entries go a little later, in batches.
    assert!(bytes < 64 * 1024, "{bytes} bytes");
}

#[test]
fn memory_goes_with_the_entries() {
    #[cached(timeout = 300)]
    fn f(n: u64) -> Vec<u8> {
        vec![0; usize::try_from(n).unwrap()]
    }
    f(1);
    let bytes = bytes_kept(|| {
        (0..1000).for_each(|n| drop(f(n)));
        f::clear();
    });
    assert!(bytes < 64 * 1024, "{bytes} bytes");
}
