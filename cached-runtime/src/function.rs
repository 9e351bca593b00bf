//! An annotated function: its static, and the state that its first call creates.

use std::any::{Any, TypeId};
use std::fmt;
use std::hash::BuildHasher;
use std::marker::PhantomData;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use std::time::Duration;

use once_cell::sync::OnceCell;

#[cfg(feature = "backend")]
use crate::backend::{
    Shared,
    link::{Way, blocking},
    remote::Remote,
    shared::{Coded, EncodedKey, SharedCall},
};
use crate::call::{self, Call, Lookup};
use crate::epoch::with_guard;
use crate::key::Part;
use crate::outcome::Outcome;
use crate::policy::{Policy, PolicyBuilder, Windows};
#[cfg(feature = "backend")]
use crate::saved::{self, FileKey, Label};
use crate::stats::{Counts, Rare, Stats};
use crate::store::any::Keys;
use crate::store::table::{AnyTable, Base, Table};
use crate::store::{Inner, janitor};

/// What the attribute leaves behind for each function: a static of this type.
pub struct Function {
    name: &'static str,
    policy: Policy,
    /// In the store of the process.
    state: OnceCell<&'static State>,
    pub(crate) exceptions: Exceptions,
    #[cfg(feature = "backend")]
    shared: Option<&'static Shared>,
    /// Whether this process keeps copies of what is in its backend.
    #[cfg(feature = "backend")]
    pub(crate) keeps_copies: bool,
    /// What its entries are called in files, if they are saved.
    #[cfg(feature = "backend")]
    label: Option<Label>,
}

/// How many reasons there are to look at more than the store in each call of a function: it is being
/// called with conditions forced on it, or the store is disabled. Usually none.
#[derive(Debug)]
pub(crate) struct Exceptions(AtomicUsize);

impl Exceptions {
    #[inline]
    pub(crate) fn any(&self) -> bool {
        self.0.load(Relaxed) != 0
    }

    pub(crate) fn begin(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    pub(crate) fn end(&self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// The state of a function in one store.
pub(crate) struct State {
    pub(crate) function: &'static Function,
    pub(crate) store: &'static Inner,
    /// That of the policy, unless a test wants another one.
    pub(crate) capacity: usize,
    pub(crate) rare: Rare,
    tables: Tables,
    /// Where the function has a backend, once it is needed.
    #[cfg(feature = "backend")]
    remote: OnceCell<Box<Remote>>,
}

/// The tables of a function: most have one; a generic function has one for each of the types that it
/// was called with, in a tree by the hashes of their identities, which only grows.
#[derive(Default)]
struct Tables(OnceCell<Typed>);

const BRANCHES: usize = 4;

/// A table, and what it is found by: the types of key and value together with the function's generic
/// parameters and `Self`. A type's name would not do; two types can have the same.
struct Typed {
    identity: TypeId,
    table: &'static dyn AnyTable,
    further: OnceCell<Box<[OnceCell<Typed>; BRANCHES]>>,
}

impl Typed {
    #[inline]
    fn downcast<T: Any>(&self) -> Option<&'static T> {
        let any: &'static dyn Any = self.table;
        any.downcast_ref()
    }

    fn branch(&self, number: usize) -> &OnceCell<Self> {
        &self.further.get_or_init(Box::default)[number % BRANCHES]
    }

    fn collect_into(&self, tables: &mut Vec<&'static dyn AnyTable>) {
        tables.push(self.table);
        let further = self.further.get().into_iter().flat_map(|further| &**further);
        further.filter_map(OnceCell::get).for_each(|typed| typed.collect_into(tables));
    }
}

impl Function {
    /// `name` is that of the function in statistics.
    #[must_use]
    pub const fn new(name: &'static str, policy: PolicyBuilder) -> Self {
        Self {
            name,
            policy: policy.build(),
            state: OnceCell::new(),
            exceptions: Exceptions(AtomicUsize::new(0)),
            #[cfg(feature = "backend")]
            shared: None,
            #[cfg(feature = "backend")]
            keeps_copies: false,
            #[cfg(feature = "backend")]
            label: None,
        }
    }

    /// The same function with a backend.
    #[cfg(feature = "backend")]
    #[must_use]
    pub const fn shared(mut self, shared: &'static Shared) -> Self {
        self.shared = Some(shared);
        self.keeps_copies = shared.local().is_some();
        self
    }

    /// The same function with entries that are saved.
    #[cfg(feature = "backend")]
    #[must_use]
    pub const fn saved(mut self, label: Label) -> Self {
        self.label = Some(label);
        self
    }

    #[cfg(feature = "backend")]
    pub(crate) fn id_in_file(&self) -> Option<u128> {
        Some(self.label?.id(self.name))
    }

    /// How long this process serves copies of what is in the backend, if it does.
    #[cfg(feature = "backend")]
    pub(crate) fn local_timeout(&self) -> Option<Duration> {
        self.shared.and_then(Shared::local)
    }

    /// The state in the current store.
    #[inline]
    pub(crate) fn state(&'static self) -> &'static State {
        #[cfg(feature = "testing")]
        if let Some(own) = crate::testing::state_of(self) {
            return own;
        }
        self.state.get_or_init(|| self.first_state(Inner::global(), self.policy.capacity()))
    }

    #[cfg(feature = "testing")]
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    #[cfg(feature = "testing")]
    pub(crate) fn capacity(&self) -> usize {
        self.policy.capacity()
    }

    #[cold]
    pub(crate) fn first_state(&'static self, store: &'static Inner, capacity: usize) -> &'static State {
        let state = Box::leak(Box::new(State {
            function: self,
            store,
            capacity,
            rare: Rare::default(),
            tables: Tables::default(),
            #[cfg(feature = "backend")]
            remote: OnceCell::new(),
        }));
        store.register(state);
        state
    }

    /// A call that nobody makes: what is known of its key, for the companion.
    pub fn entry<G: ?Sized, P: Part, O: Outcome>(
        &'static self,
        outcome: O,
        identity: PhantomData<G>,
        key: P,
    ) -> Call<O> {
        Call::new(self, Lookup::new(), outcome, identity, &key)
    }

    /// The same of a function with a backend.
    #[cfg(feature = "backend")]
    pub fn entry_shared<G: ?Sized, P: EncodedKey, O: Outcome>(
        &'static self,
        outcome: Coded<O>,
        identity: PhantomData<G>,
        key: P,
    ) -> SharedCall<O> {
        SharedCall::new(self, Lookup::new(), outcome, identity, key, false)
    }

    /// The same of a function whose entries are saved.
    #[cfg(feature = "backend")]
    pub fn entry_saved<G: ?Sized, P: FileKey, O: Outcome>(
        &'static self,
        outcome: Coded<O>,
        identity: PhantomData<G>,
        key: P,
    ) -> Call<O> {
        saved::entry_saved(self, outcome, identity, key)
    }

    /// Runs a call of this function that is to compute and store anew.
    pub fn refresh<R>(&'static self, call: impl FnOnce() -> R) -> R {
        let _forced = call::force(self, Lookup::new().refresh_if(true));
        call()
    }

    /// Runs a call of this function that is to be no more than its body.
    pub fn uncached<R>(&'static self, call: impl FnOnce() -> R) -> R {
        let _forced = call::force(self, Lookup::new().bypass_if(true));
        call()
    }

    /// [`refresh`](Self::refresh) for the future of a call.
    pub async fn refresh_async<F: Future>(&'static self, call: F) -> F::Output {
        call::forced(self, Lookup::new().refresh_if(true), call).await
    }

    /// [`uncached`](Self::uncached) for the future of a call.
    pub async fn uncached_async<F: Future>(&'static self, call: F) -> F::Output {
        call::forced(self, Lookup::new().bypass_if(true), call).await
    }

    /// Forgets all keys.
    pub fn clear(&'static self) {
        self.state().clear_everywhere();
    }

    /// [`clear`](Self::clear) for the companion of an `async` function.
    #[cfg_attr(
        not(feature = "backend"),
        expect(clippy::unused_async, reason = "what belongs to an `async` function is `async`")
    )]
    pub async fn clear_async(&'static self) {
        let state = self.state();
        state.clear();
        #[cfg(feature = "backend")]
        if let Some(remote) = state.remote() {
            remote.clear(Way::Awaited).await;
            state.clear();
        }
        janitor::free_all();
    }

    /// What happened so far.
    #[must_use]
    pub fn stats(&'static self) -> Stats {
        self.state().stats()
    }

    /// [`stats`](Self::stats) for the companion of an `async` function.
    #[expect(clippy::unused_async, reason = "what belongs to an `async` function is `async`")]
    pub async fn stats_async(&'static self) -> Stats {
        self.stats()
    }
}

impl State {
    pub(crate) fn policy(&self) -> &'static Policy {
        &self.function.policy
    }

    /// Whether its entries are in a backend, and those here are copies.
    #[cfg(feature = "backend")]
    pub(crate) fn is_shared(&self) -> bool {
        self.function.shared.is_some()
    }

    #[cfg(not(feature = "backend"))]
    #[expect(clippy::unused_self, reason = "where there are backends, it depends")]
    pub(crate) fn is_shared(&self) -> bool {
        false
    }

    /// For how long past their timeout entries are served that are here: copies not at all, since whether they are
    /// still what is in the backend is found out there.
    pub(crate) fn windows(&self) -> Windows {
        if self.is_shared() { Windows::default() } else { self.policy().windows() }
    }

    /// Whether entries that are here are served that are not simply fresh.
    pub(crate) fn serves_ahead(&self) -> bool {
        !self.is_shared() && self.policy().serves_ahead()
    }

    /// The table for these types.
    #[inline]
    pub(crate) fn table<G: ?Sized, P, S>(&'static self) -> &'static Table<P::Owned, S>
    where
        P: Part,
        S: Send + Sync + 'static,
    {
        let identity = typeid::of::<(PhantomData<G>, Table<P::Owned, S>)>();
        // Where there are no generic parameters, the types of key and value say all.
        let is_plain = typeid::of::<G>() == TypeId::of::<()>();
        if let Some(first) = self.tables.0.get()
            && (is_plain || first.identity == identity)
            && let Some(table) = first.downcast()
        {
            return table;
        }
        self.further_table(identity, Keys::of::<P>)
    }

    /// The table of this identity among all, made if it is not there.
    #[inline(never)]
    fn further_table<K, S>(&'static self, identity: TypeId, keys: fn() -> Keys) -> &'static Table<K, S>
    where
        K: Send + Sync + 'static,
        S: Send + Sync + 'static,
    {
        let table: fn(Base) -> &'static dyn AnyTable = |base| Box::leak(Box::new(Table::<K, S>::new(base)));
        let typed = self.typed(identity, &|| table(Base::new(self, keys(), Table::<K, S>::ENTRY_BYTES)));
        typed.downcast().expect("the identity names the types of the table")
    }

    fn typed(&self, identity: TypeId, table: &dyn Fn() -> &'static dyn AnyTable) -> &Typed {
        let create = || Typed { identity, table: table(), further: OnceCell::new() };
        let mut typed = self.tables.0.get_or_init(create);
        if typed.identity != identity {
            let mut path =
                usize::try_from(foldhash::fast::FixedState::default().hash_one(identity)).unwrap_or(0);
            while typed.identity != identity {
                typed = typed.branch(path).get_or_init(create);
                path = path.rotate_right(BRANCHES.ilog2());
            }
        }
        typed
    }

    pub(crate) fn tables(&self) -> Vec<&'static dyn AnyTable> {
        let mut tables = Vec::new();
        if let Some(first) = self.tables.0.get() {
            first.collect_into(&mut tables);
        }
        tables
    }

    pub(crate) fn clear(&self) {
        #[cfg(feature = "backend")]
        if let Some(id) = self.function.id_in_file() {
            self.store.waiting.forget(id);
        }
        for table in self.tables() {
            with_guard(|guard| table.clear(guard));
        }
    }

    /// Its entries in the backend, if it has one.
    #[cfg(feature = "backend")]
    pub(crate) fn remote(&'static self) -> Option<&'static Remote> {
        let shared = self.function.shared?;
        Some(&**self.remote.get_or_init(|| Box::new(Remote::new(self, shared, self.function.name))))
    }

    /// Makes the tags of its backend known to the store, if it has both.
    #[cfg(feature = "backend")]
    pub(crate) fn use_tags(&'static self) {
        if self.function.shared.is_some_and(Shared::has_tags) {
            self.remote();
        }
    }

    /// Another process has invalidated a tag, which is not believed from before; whether there are any here.
    #[cfg(feature = "backend")]
    pub(crate) fn hears(&self, tag: u128) -> bool {
        self.remote.get().is_some_and(|remote| remote.doubt_tag(tag))
    }

    /// Other processes may have changed anything since the copies of it were made.
    #[cfg(feature = "backend")]
    pub(crate) fn drop_copies(&self) {
        // First, so that what is not fenced below believes nothing from before.
        if let Some(remote) = self.remote.get() {
            remote.doubt();
        }
        self.clear();
    }

    /// The backend, and once more what is here: a call that began meanwhile may have read what was still there.
    #[cfg(feature = "backend")]
    pub(crate) fn clear_remote(&'static self) {
        if let Some(remote) = self.remote() {
            blocking(remote.clear(Way::Blocking));
            self.clear();
        }
    }

    pub(crate) fn clear_everywhere(&'static self) {
        self.clear();
        #[cfg(feature = "backend")]
        self.clear_remote();
        janitor::free_all();
    }

    pub(crate) fn stats(&self) -> Stats {
        #[cfg(feature = "backend")]
        if let Some(remote) = self.remote.get() {
            let counts = &remote.counts;
            return Stats {
                backend_hits: counts.hits.get(),
                backend_misses: counts.misses.get(),
                backend_errors: counts.errors.get(),
                backend_skipped: counts.skipped.get(),
                backend_too_large: counts.too_large.get(),
                backend_undecodable: counts.undecodable.get(),
                backend_overtaken: counts.overtaken.get(),
                ..self.stats_here()
            };
        }
        self.stats_here()
    }

    /// Those of this process.
    fn stats_here(&self) -> Stats {
        let (tables, rare) = (self.tables(), &self.rare);
        let counts: Counts = tables.iter().map(|table| table.counts()).sum();
        Stats {
            hits: tables.iter().map(|table| table.hits()).sum(),
            misses: counts.misses,
            stale: rare.stale.get(),
            revalidations: rare.revalidations.get(),
            errors_hidden: rare.errors_hidden.get(),
            coalesced: rare.coalesced.get(),
            computations: counts.computations,
            abandoned: rare.abandoned.get(),
            not_stored: rare.not_stored.get(),
            bypassed: rare.bypassed.get(),
            evictions: counts.evictions,
            expirations: counts.expirations,
            invalidations: counts.invalidations,
            entries: tables.iter().map(|table| table.footprint().0 as u64).sum(),
            weight: tables.iter().map(|table| table.weight()).sum(),
            compute_time: Duration::from_nanos(counts.compute_nanoseconds),
            ..Stats::default()
        }
    }
}

/// A function as the store knows it, from [`Store::functions`](crate::Store::functions).
///
/// ```
/// use cached_runtime::{cached, store};
///
/// struct Repo;
///
/// impl Repo {
///     #[cached(timeout = 60, skip(self), name = "repo.load")]
///     fn load(&self, id: u64) -> u64 {
///         id
///     }
/// }
///
/// Repo.load(1);
/// let load = store().function("repo.load").expect("it has been called");
/// assert_eq!((load.stats().misses, load.stats().entries), (1, 1));
/// load.clear();
/// assert_eq!(load.stats().entries, 0);
/// ```
#[derive(Clone, Copy)]
pub struct FunctionInfo(&'static State);

impl FunctionInfo {
    pub(crate) fn new(state: &'static State) -> Self {
        Self(state)
    }

    /// The module path and name of the function, or what `name = "…"` says.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.function.name
    }

    /// What the attribute promises.
    #[must_use]
    pub fn policy(&self) -> Policy {
        self.0.function.policy
    }

    /// What happened so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.0.stats()
    }

    /// Forgets all keys of the function; the way to do so for a method, which has no companion.
    pub fn clear(&self) {
        self.0.clear_everywhere();
    }
}

impl fmt::Debug for FunctionInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FunctionInfo")
            .field("name", &self.name())
            .field("policy", &self.policy())
            .field("stats", &self.0.stats())
            .finish()
    }
}
