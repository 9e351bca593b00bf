//! What the store allocates, counted by the allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::HashMap;
use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::sync::atomic::{AtomicIsize, Ordering::SeqCst};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use cached_runtime::{Backend, cached, store, testing};
use cached_tests::driver::Faulty;
use cached_tests::{eventually, watched};
use serde::{Deserialize, Serialize};

/// Counts the allocations and the bytes of each thread, and the bytes of all of them.
struct Counting;

static ALL_BYTES: AtomicIsize = AtomicIsize::new(0);

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    static BYTES: Cell<isize> = const { Cell::new(0) };
    static MOST_BYTES: Cell<isize> = const { Cell::new(0) };
}

#[expect(unsafe_code, reason = "an allocator cannot be written without")]
// SAFETY: everything is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        let _ = BYTES.try_with(|bytes| {
            bytes.set(bytes.get() + layout.size().cast_signed());
            let _ = MOST_BYTES.try_with(|most| most.set(most.get().max(bytes.get())));
        });
        ALL_BYTES.fetch_add(layout.size().cast_signed(), SeqCst);
        // SAFETY: as promised by the caller.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let _ = BYTES.try_with(|bytes| bytes.set(bytes.get() - layout.size().cast_signed()));
        ALL_BYTES.fetch_sub(layout.size().cast_signed(), SeqCst);
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

/// The most that there was at the same time.
fn most_bytes(call: impl FnOnce()) -> isize {
    let before = BYTES.get();
    MOST_BYTES.set(before);
    call();
    MOST_BYTES.get() - before
}

/// Keeps the other tests of this process waiting: what they allocate is not what a test is about, and
/// what they look at is not freed.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A value of which it is known how many there are.
#[derive(Clone)]
struct Live(#[expect(dead_code, reason = "it is there to be dropped")] Arc<Counted>);

struct Counted(&'static AtomicIsize);

impl Live {
    fn new(count: &'static AtomicIsize) -> Self {
        count.fetch_add(1, SeqCst);
        Self(Arc::new(Counted(count)))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
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
    #[cached(tags("user:{id}", "all-users"))]
    fn tagged(id: u64) -> u64 {
        id
    }
    fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
        pin!(future).poll(&mut Context::from_waker(Waker::noop()))
    }
    let _alone = alone();
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
        black_box(tagged(1));
        assert!(poll_once(later("text")).is_ready());
    };
    // A miss, the first hit of this thread, and enough of them for the clock to tick.
    (0..10_000).for_each(|_| calls());
    assert_eq!(allocations(|| (0..1000).for_each(|_| calls())), 0);
}

#[test]
fn an_idle_function_takes_less_than_eight_kibibytes() {
    #[cached(timeout = 300)]
    fn first(n: u64) -> u64 {
        n
    }
    #[cached(timeout = 300)]
    fn second(n: u64) -> u64 {
        n
    }
    let _alone = alone();
    // What there is once in a process and once in a thread.
    first(1);
    let bytes = bytes_kept(|| {
        second(1);
    });
    assert!(bytes < 8 * 1024, "{bytes} bytes");
}

#[test]
fn a_million_short_flights_leave_no_memory_behind() {
    #[cached(timeout = 300, capacity = 16)]
    fn f(n: u64) -> u64 {
        n
    }
    let _alone = alone();
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
fn tags_take_no_memory_however_many_there_are() {
    #[cached(tags("{n}", "all"))]
    fn f(n: u64) -> u64 {
        n
    }
    let _alone = alone();
    f(1);
    let bytes = bytes_kept(|| {
        (0..100_000_u64).for_each(|n| store().invalidate_tag(&n.to_string()));
        // An entry that was invalidated is replaced.
        (0..10_000).for_each(|_| {
            store().invalidate_tag("all");
            f(1);
        });
    });
    // With what is known of some thousands of tags, if another test has used a backend.
    assert!(bytes < 1024 * 1024, "{bytes} bytes");
    assert_eq!(f::stats().entries, 1);
}

#[test]
fn tags_of_a_backend_take_bounded_memory_however_many_there_are() {
    #[cached(tags("{n}", "all"), backend = "null://")]
    fn f(n: u64) -> u64 {
        n
    }
    let _alone = alone();
    f(1);
    let bytes = bytes_kept(|| {
        for n in 0..100_000 {
            store().invalidate_tag(&n.to_string());
            if n % 16 == 0 {
                f(n);
            }
        }
    });
    assert!(bytes < 2 << 20, "{bytes} bytes");
}

#[test]
fn memory_goes_with_the_entries() {
    #[cached(timeout = 300)]
    fn f(n: u64) -> Vec<u8> {
        vec![0; usize::try_from(n).unwrap()]
    }
    let _alone = alone();
    f(1);
    let bytes = bytes_kept(|| {
        (0..1000).for_each(|n| drop(f(n)));
        f::clear();
    });
    assert!(bytes < 64 * 1024, "{bytes} bytes");
}

#[test]
fn of_a_table_of_which_everything_has_expired_the_buckets_stay() {
    // Fewer than twice as many as are needed, of a line for six entries each; and a number for each
    // slot where entries can be idle.
    const BUCKETS: isize = 100_000 / 6 * 2 * (2 * 64 + 7 * 8);
    #[cached(timeout = 300, capacity = 1_000_000)]
    fn f(n: u64) -> u64 {
        n
    }
    #[cached(idle_timeout = 300, capacity = 1_000_000, weigh = |_| 1)]
    fn weighed(n: u64) -> u64 {
        n
    }
    let _alone = alone();
    watched(|| {
        let own = testing::isolated();
        let call = |n| {
            f(n);
            weighed(n);
        };
        // What there is once.
        call(0);
        own.advance(Duration::from_secs(300));
        eventually(|| f::stats().entries + weighed::stats().entries == 0);
        let before = ALL_BYTES.load(SeqCst);
        (0..100_000).for_each(call);
        let full = ALL_BYTES.load(SeqCst) - before;
        assert!(full > 2_000_000, "{full} bytes when it is full");
        own.advance(Duration::from_secs(300));
        eventually(|| f::stats().entries + weighed::stats().entries == 0);
        // What this thread removed as the tables grew goes as it goes on.
        eventually(|| {
            f::peek(0);
            ALL_BYTES.load(SeqCst) - before < BUCKETS + 64 * 1024
        });
    });
}

#[test]
fn evicted_values_that_are_weighed_do_not_pile_up() {
    static LIVE: AtomicIsize = AtomicIsize::new(0);
    #[cached(capacity = 4_000_000, weigh = |_| 1_000_000)]
    fn f(n: u64) -> Live {
        let _ = n;
        Live::new(&LIVE)
    }
    let _alone = alone();
    watched(|| {
        let _own = testing::isolated();
        for n in 0..1000 {
            f(n);
            f::refresh(n);
            assert_eq!(LIVE.load(SeqCst), isize::try_from(f::stats().entries).unwrap(), "after {n}");
        }
        store().set_max_bytes(2_500_000);
        assert_eq!((f::stats().entries, LIVE.load(SeqCst)), (2, 2));
        (0..1000).for_each(|n| drop(f(n)));
        assert_eq!((f::stats().entries, LIVE.load(SeqCst)), (2, 2));
        assert!(f::invalidate(999));
        assert_eq!(LIVE.load(SeqCst), 1);
    });
}

#[test]
fn of_the_values_that_a_worker_evicted_before_it_idles_few_are_left() {
    static LIVE: AtomicIsize = AtomicIsize::new(0);
    #[cached(capacity = 10)]
    fn f(n: u64) -> Live {
        let _ = n;
        Live::new(&LIVE)
    }
    let _alone = alone();
    watched(|| {
        let _own = testing::isolated();
        let next = Cell::new(0);
        // While another thread does not come to its end of looking something up, nothing can be dropped.
        eventually(|| {
            let mut most = 0;
            for _ in 0..1000 {
                f(next.replace(next.get() + 1));
                most = most.max(LIVE.load(SeqCst));
            }
            most <= 10 + 8
        });
    });
}

#[test]
fn values_that_many_workers_evict_are_gone_when_they_have_ended() {
    static LIVE: AtomicIsize = AtomicIsize::new(0);
    #[cached(capacity = 4_000_000, weigh = |_| 1_000_000)]
    fn f(n: u64) -> Live {
        let _ = n;
        Live::new(&LIVE)
    }
    let _alone = alone();
    watched(|| {
        let own = testing::isolated();
        let threads: Vec<_> = (0..8)
            .map(|thread| {
                let store = own.store();
                std::thread::spawn(move || {
                    let _entered = store.enter();
                    (0..300).for_each(|n| drop(f(thread * 10_000 + n)));
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        eventually(|| {
            f::peek(0);
            LIVE.load(SeqCst) <= 4
        });
    });
}

/// A record with a part of it replaced, and the checksum of what it is then.
fn forged(record: &[u8], at: usize, rest: &[u8]) -> Vec<u8> {
    let mut forged = [&record[..at], rest].concat();
    let checksum = xxhash_rust::xxh3::xxh3_64(&forged);
    forged.extend_from_slice(&checksum.to_le_bytes());
    forged
}

#[derive(Clone, Serialize, Deserialize)]
struct Nested {
    inner: Option<Box<Nested>>,
}

#[test]
fn an_entry_that_lies_about_its_lengths_or_is_nested_deep_is_a_miss_in_little_memory() {
    static DRIVER: LazyLock<Arc<Faulty>> = LazyLock::new(Faulty::new);
    static OWN: Backend = Backend::driver("hostile", || DRIVER.clone());
    #[cached(timeout = "1h", backend = OWN)]
    fn list(n: u64) -> Vec<u64> {
        vec![n]
    }
    #[cached(timeout = "1h", backend = OWN)]
    fn text(n: u64) -> String {
        n.to_string()
    }
    #[cached(timeout = "1h", backend = OWN)]
    fn map(n: u64) -> HashMap<String, Vec<String>> {
        HashMap::from([(n.to_string(), Vec::new())])
    }
    #[cached(timeout = "1h", backend = OWN)]
    fn nested(_n: u64) -> Nested {
        Nested { inner: None }
    }
    #[cached(timeout = "1h", codec = json, backend = OWN)]
    fn as_json(_n: u64) -> serde_json::Value {
        serde_json::Value::Null
    }
    let _alone = alone();
    let _own = testing::isolated();
    // The largest lengths, of lists, maps, texts, bytes and others; one of each within another; depth.
    let lies = [&[0xdd_u8][..], &[0xdf], &[0xdb], &[0xc6], &[0xc9], &[0x91, 0xdd], &[0x81, 0xa1, b'1', 0xdd]];
    let mut payloads: Vec<Vec<u8>> = lies.map(|lie| [lie, &[0xff; 4]].concat()).into();
    let level = [&[0x81, 0xa5][..], b"inner"].concat();
    payloads.extend([
        vec![0x91; 100_000],
        level.repeat(20_000),
        vec![b'['; 100_000],
        b"{\"inner\":".repeat(20_000),
    ]);
    let calls: [(&str, &dyn Fn() -> bool); 5] = [
        ("list", &|| list(1) == [1] && list::peek(1).is_some()),
        ("text", &|| text(1) == "1" && text::peek(1).is_some()),
        ("map", &|| map(1).len() == 1 && map::peek(1).is_some()),
        ("nested", &|| nested(1).inner.is_none() && nested::peek(1).is_some()),
        ("as_json", &|| as_json(1).is_null() && as_json::peek(1).is_some()),
    ];
    let peeks: [&dyn Fn() -> bool; 5] = [
        &|| list::peek(1).is_none(),
        &|| text::peek(1).is_none(),
        &|| map::peek(1).is_none(),
        &|| nested::peek(1).is_none(),
        &|| as_json::peek(1).is_none(),
    ];
    for ((name, call), is_miss) in calls.into_iter().zip(peeks) {
        let others = DRIVER.keys();
        assert!(call(), "{name}");
        let key = DRIVER.keys().into_iter().find(|key| !others.contains(key)).expect("it was stored");
        let record = DRIVER.raw(&key).expect("it was stored");
        let length = |at: usize| u32::from_le_bytes(record[at..at + 4].try_into().expect("four bytes"));
        let payload_at = 48 + 4 + usize::try_from(length(48)).expect("it is short");
        let hostile = |payload: &Vec<u8>| {
            let length = u32::try_from(payload.len()).expect("it is short");
            forged(&record, payload_at, &[&length.to_le_bytes()[..], payload].concat())
        };
        let mut entries: Vec<Vec<u8>> = payloads.iter().map(hostile).collect();
        let content = &record[..record.len() - 8];
        for at in [48, payload_at] {
            entries.push(forged(&record, at, &[&[0xff; 4], &content[at + 4..]].concat()));
        }
        // What is forged without a change is none.
        DRIVER.set_raw(&key, &forged(content, content.len(), &[]));
        assert!(!is_miss(), "{name}");
        for (number, entry) in entries.iter().enumerate() {
            DRIVER.set_raw(&key, entry);
            let most = most_bytes(|| assert!(is_miss(), "{name}, entry {number}"));
            assert!(most < (4 << 20), "{most} bytes for entry {number} of {name}");
            assert!(call(), "{name}, entry {number}: and is healed");
        }
    }
}
