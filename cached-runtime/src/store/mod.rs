//! The global expiring store: every entry of every function, and the limits over all of them.

pub(crate) mod any;
mod entry;
mod eviction;
mod expiries;
mod ghosts;
mod index;
pub(crate) mod janitor;
mod places;
mod retries;
#[cfg(feature = "backend")]
pub(crate) mod saving;
pub(crate) mod shard;
mod sketch;
pub(crate) mod table;

use std::fmt;
#[cfg(feature = "backend")]
use std::io;
#[cfg(feature = "backend")]
use std::path::Path;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::atomic::{AtomicBool, AtomicUsize};

use once_cell::sync::Lazy;
use parking_lot::RwLock;

#[cfg(feature = "backend")]
use crate::backend::{
    link::{Way, blocking},
    tags,
};
use crate::clock::{Clock, Moment};
use crate::epoch::with_guard;
use crate::function::{FunctionInfo, State};
use crate::report::Report;
#[cfg(feature = "backend")]
use crate::saved::{self, Loaded, Saved, Waiting};
use crate::tag;
use table::AnyTable;

/// A store: the one of the process, or one of a test's own.
pub(crate) struct Inner {
    functions: RwLock<Vec<&'static State>>,
    enabled: AtomicBool,
    /// The most entries and bytes of all functions together.
    most_entries: AtomicUsize,
    most_bytes: AtomicUsize,
    pub(crate) clock: Clock,
    #[cfg(feature = "backend")]
    pub(crate) tags: tags::Everywhere,
    /// What was loaded for functions that have not been called.
    #[cfg(feature = "backend")]
    pub(crate) waiting: Waiting,
}

impl Inner {
    pub(crate) fn new() -> &'static Self {
        let inner: &'static Self = Box::leak(Box::new(Self {
            functions: RwLock::default(),
            enabled: AtomicBool::new(true),
            most_entries: AtomicUsize::new(usize::MAX),
            most_bytes: AtomicUsize::new(usize::MAX),
            clock: Clock::default(),
            #[cfg(feature = "backend")]
            tags: tags::Everywhere::default(),
            #[cfg(feature = "backend")]
            waiting: Waiting::default(),
        }));
        janitor::look_after(inner);
        inner
    }

    pub(crate) fn global() -> &'static Self {
        static GLOBAL: Lazy<&'static Inner> = Lazy::new(Inner::new);
        *GLOBAL
    }

    #[cfg(feature = "backend")]
    pub(crate) fn is_global(&'static self) -> bool {
        std::ptr::eq(self, Self::global())
    }

    /// The store of this process; in a test that asked for one of its own, that one.
    pub(crate) fn current() -> &'static Self {
        #[cfg(feature = "testing")]
        if let Some(own) = crate::testing::entered() {
            return own;
        }
        Self::global()
    }

    pub(crate) fn register(&self, state: &'static State) {
        let mut functions = self.functions.write();
        functions.push(state);
        if !self.is_enabled() {
            state.function.exceptions.begin();
        }
    }

    /// Under the lock of the functions, so that none is registered meanwhile.
    fn set_enabled(&self, enabled: bool) {
        let functions = self.functions.write();
        if self.enabled.swap(enabled, AcqRel) == enabled {
            return;
        }
        for state in functions.iter() {
            let exceptions = &state.function.exceptions;
            if enabled { exceptions.end() } else { exceptions.begin() }
        }
    }

    pub(crate) fn functions(&self) -> Vec<&'static State> {
        self.functions.read().clone()
    }

    /// Those of all functions.
    fn tables(&self) -> impl Iterator<Item = &'static dyn AnyTable> {
        self.functions().into_iter().flat_map(State::tables)
    }

    #[inline]
    pub(crate) fn is_enabled(&self) -> bool {
        self.enabled.load(Acquire)
    }

    /// Entries and bytes of all functions.
    fn footprint(&self) -> (usize, usize) {
        let all = self.tables().map(<dyn AnyTable>::footprint);
        all.fold((0, 0), |(entries, bytes), (more, larger)| (entries + more, bytes + larger))
    }

    /// Evicts until the limits over all functions are kept: first what has expired anywhere, then from
    /// the function that takes up most of what there is too much of.
    pub(crate) fn keep_limits(&self) {
        let (most_entries, most_bytes) = (self.most_entries.load(Relaxed), self.most_bytes.load(Relaxed));
        // What is usual costs no more than this.
        if most_entries == usize::MAX && most_bytes == usize::MAX {
            return;
        }
        loop {
            let (entries, bytes) = self.footprint();
            let by_entries = entries > most_entries;
            if !by_entries && bytes <= most_bytes {
                return;
            }
            if self.remove_expired(1) == 0 && !self.evict_from_largest(by_entries) {
                return;
            }
        }
    }

    /// The most entries of all functions together.
    pub(crate) fn most_entries(&self) -> usize {
        self.most_entries.load(Relaxed)
    }

    fn evict_from_largest(&self, by_entries: bool) -> bool {
        let size = |(entries, bytes): (usize, usize)| if by_entries { entries } else { bytes };
        let largest = self.tables().max_by_key(|table| size(table.footprint()));
        largest.is_some_and(|table| with_guard(|guard| table.evict_one(guard)))
    }

    /// Removes expired entries, at most so many from each table at a time; returns how many.
    pub(crate) fn remove_expired(&self, most: usize) -> usize {
        let now = self.clock.now();
        let due = self.tables().filter(|table| table.next_expiry() <= now);
        due.map(|table| with_guard(|guard| table.remove_expired(most, guard))).sum()
    }

    pub(crate) fn next_expiry(&self) -> Moment {
        self.tables().map(<dyn AnyTable>::next_expiry).min().unwrap_or(Moment::MAX)
    }

    pub(crate) fn clear(&self) {
        #[cfg(feature = "backend")]
        self.waiting.clear();
        for state in self.functions() {
            state.clear();
        }
    }
}

/// The store of this process, in which every entry of every annotated function lives.
///
/// ```
/// use cached_runtime::{cached, store};
///
/// #[cached(timeout = 60)]
/// fn double(n: u64) -> u64 {
///     n * 2
/// }
///
/// double(1);
/// store().clear();
/// assert_eq!(double::peek(1), None);
/// ```
#[must_use]
pub fn store() -> Store {
    Store(Inner::current())
}

/// A handle to the global store, from [`store`].
#[derive(Clone, Copy)]
pub struct Store(&'static Inner);

impl Store {
    /// The functions that have been called so far, in the order of their first calls.
    ///
    /// ```
    /// use cached_runtime::{cached, store};
    ///
    /// #[cached(timeout = 60)]
    /// fn double(n: u64) -> u64 {
    ///     n * 2
    /// }
    ///
    /// double(1);
    /// let functions = store().functions();
    /// assert!(functions.iter().any(|f| f.name().ends_with("::double") && f.stats().misses == 1));
    /// ```
    #[must_use]
    pub fn functions(self) -> Vec<FunctionInfo> {
        self.0.functions().into_iter().map(FunctionInfo::new).collect()
    }

    /// The function of this name, if it has been called. Of several with one name, the first.
    #[must_use]
    pub fn function(self, name: &str) -> Option<FunctionInfo> {
        self.functions().into_iter().find(|function| function.name() == name)
    }

    /// Forgets every entry of every function, and what is being computed will not be stored. The backends
    /// of functions that have one are told, which blocks.
    pub fn clear(self) {
        self.0.clear();
        #[cfg(feature = "backend")]
        self.0.functions().into_iter().for_each(State::clear_remote);
        janitor::free_all();
    }

    /// Forgets every entry that has this tag, of whichever function: none of them is served from now on, and
    /// what is being computed will not be stored. Takes the same time for any number of entries; their memory
    /// is freed when they expire, are evicted or computed anew.
    ///
    /// Tags are told apart by a hash. Where very many are invalidated, others may be taken for them, and their
    /// entries are computed anew.
    ///
    /// The backends of functions with tags are told, which blocks: other processes see it within a second. What
    /// cannot be told is made up for, as with the companion's calls. A backend is known here once a function with
    /// tags that it belongs to was called, or its companion; it hears then of what was invalidated before.
    ///
    /// ```
    /// use cached_runtime::{cached, store};
    ///
    /// #[cached(timeout = 60, tags("user:{id}"))]
    /// fn orders(id: u64, year: u32) -> u64 {
    ///     id + u64::from(year)
    /// }
    ///
    /// orders(7, 2025);
    /// orders(7, 2026);
    /// orders(8, 2026);
    /// store().invalidate_tag("user:7");
    /// assert_eq!((orders::peek(7, 2025), orders::peek(7, 2026)), (None, None));
    /// assert!(orders::peek(8, 2026).is_some());
    /// ```
    pub fn invalidate_tag(self, tag: &str) {
        #[cfg(feature = "backend")]
        let renewed = tags::renew(self.0, tag);
        tag::invalidate(self.0, tag);
        #[cfg(feature = "backend")]
        blocking(renewed.tell(Way::Blocking));
    }

    /// [`invalidate_tag`](Self::invalidate_tag) for tasks, which must not block: what is in this process is
    /// forgotten at the first poll, and the backends are told while it is awaited.
    ///
    /// ```
    /// use cached_runtime::{cached, store};
    ///
    /// #[cached(timeout = 60, tags("user:{id}"))]
    /// async fn orders(id: u64) -> u64 {
    ///     id
    /// }
    ///
    /// async fn delete(id: u64) {
    ///     store().invalidate_tag_async(&format!("user:{id}")).await;
    /// }
    /// # use std::{future::Future, pin::pin, task::{Context, Poll, Waker}};
    /// # let test = async {
    /// # orders(7).await;
    /// # delete(7).await;
    /// # assert_eq!(orders::peek(7).await, None);
    /// # };
    /// # assert!(pin!(test).poll(&mut Context::from_waker(Waker::noop())).is_ready());
    /// ```
    #[cfg_attr(
        not(feature = "backend"),
        expect(clippy::unused_async, reason = "with backends it has to wait")
    )]
    pub async fn invalidate_tag_async(self, tag: &str) {
        #[cfg(feature = "backend")]
        let renewed = tags::renew(self.0, tag);
        tag::invalidate(self.0, tag);
        #[cfg(feature = "backend")]
        renewed.tell(Way::Awaited).await;
    }

    /// Writes the entries of all functions with the option `save` to a file, for [`load`](Self::load) by a
    /// process to come. Other calls go on meanwhile; what they store may or may not be in it. Feature `backend`.
    ///
    /// The file is written beside `path`, readable by its owner alone, and takes its place once it is complete.
    /// What [`load`](Self::load) has found for functions that have not been called since is in it, too.
    ///
    /// # Errors
    ///
    /// If it cannot be written; then what was at `path` stays.
    #[cfg(feature = "backend")]
    pub fn save(self, path: impl AsRef<Path>) -> io::Result<Saved> {
        saved::save(self.0, path.as_ref())
    }

    /// Takes over the entries that [`save`](Self::save) has written, with what is left of their lives: time
    /// goes on, by the wall clock, while no process runs. It is for the start of a process, since what was
    /// invalidated since the file was written comes back by it. Feature `backend`.
    ///
    /// A key that has an entry keeps it. Entries of functions that have not been called yet are decoded by the
    /// first call. Of a file that is damaged, or cut off, all that stands before is taken over.
    ///
    /// ```
    /// use cached_runtime::{cached, store};
    ///
    /// #[cached(timeout = "1h", save)]
    /// fn report(year: u32) -> String {
    ///     format!("all of {year}") // slow
    /// }
    ///
    /// # let path = std::env::temp_dir().join(format!("cached-doc-{}", std::process::id()));
    /// report(2025);
    /// store().save(&path)?;   // as the process ends
    /// # store().clear();
    /// store().load(&path)?;   // as the next one begins
    /// assert_eq!(report::peek(2025), Some("all of 2025".to_owned()));
    /// # std::fs::remove_file(&path)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If it cannot be read, is no file of `save`, or one of a newer format; then nothing has changed.
    #[cfg(feature = "backend")]
    pub fn load(self, path: impl AsRef<Path>) -> io::Result<Loaded> {
        saved::load(self.0, path.as_ref())
    }

    /// Bounds the number of entries over all functions, beside the capacity of each. Entries beyond
    /// that are evicted at once, from the function that has most.
    ///
    /// ```
    /// use cached_runtime::{cached, store};
    ///
    /// #[cached]
    /// fn double(n: u64) -> u64 {
    ///     n * 2
    /// }
    ///
    /// store().set_max_entries(10);
    /// (0..100).for_each(|n| {
    ///     double(n);
    /// });
    /// assert_eq!(double::stats().entries, 10);
    /// ```
    pub fn set_max_entries(self, most: usize) {
        self.0.most_entries.store(most, Relaxed);
        self.0.keep_limits();
        janitor::free_all();
    }

    /// Bounds the bytes over all functions. An entry counts with its own size on the stack; what it
    /// points to counts only where the function has a `weigh`, whose result is taken for bytes.
    ///
    /// ```
    /// use cached_runtime::{cached, store};
    ///
    /// #[cached(capacity = usize::MAX, weigh = |text| text.len())]
    /// fn text(len: usize) -> String {
    ///     "x".repeat(len)
    /// }
    ///
    /// store().set_max_bytes(1_000_000);
    /// (0..1000).for_each(|n| {
    ///     text(10_000 + n);
    /// });
    /// assert!(text::stats().entries < 100);
    /// ```
    pub fn set_max_bytes(self, most: usize) {
        self.0.most_bytes.store(most, Relaxed);
        self.0.keep_limits();
        janitor::free_all();
    }

    /// Switches caching off and on: while it is off, every call runs its body and nothing is stored
    /// or looked up. What is stored stays until it expires.
    ///
    /// ```
    /// use cached_runtime::{cached, store};
    ///
    /// #[cached]
    /// fn double(n: u64) -> u64 {
    ///     n * 2
    /// }
    ///
    /// store().set_enabled(false);
    /// double(1);
    /// assert_eq!(double::stats().bypassed, 1);
    /// store().set_enabled(true);
    /// ```
    pub fn set_enabled(self, enabled: bool) {
        self.0.set_enabled(enabled);
    }

    /// One row a function, for people: hit ratio, entries, time saved.
    ///
    /// ```
    /// use cached_runtime::{cached, store};
    ///
    /// #[cached(name = "double")]
    /// fn double(n: u64) -> u64 {
    ///     n * 2
    /// }
    ///
    /// double(1);
    /// double(1);
    /// println!("{}", store().report());
    /// assert!(store().report().to_string().contains("50.0%"));
    /// ```
    #[must_use]
    pub fn report(self) -> Report {
        Report::new(self.functions())
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (entries, bytes) = self.0.footprint();
        f.debug_struct("Store")
            .field("enabled", &self.0.is_enabled())
            .field("entries", &entries)
            .field("bytes", &bytes)
            .finish_non_exhaustive()
    }
}

/// So many cases of a property; failures are not kept in files.
#[cfg(test)]
pub(crate) fn cases(count: u32) -> proptest::test_runner::Config {
    proptest::test_runner::Config { cases: count, failure_persistence: None, ..Default::default() }
}
