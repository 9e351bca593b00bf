//! For tests: a store of one's own, and a clock that moves when it is told to. Feature `testing`.
//!
//! ```
//! use std::time::Duration;
//! use cached_runtime::{cached, testing};
//!
//! #[cached(timeout = 300)]
//! fn double(n: u64) -> u64 {
//!     n * 2
//! }
//!
//! let own = testing::isolated();
//! double(1);
//! own.advance(Duration::from_secs(299));
//! assert_eq!(double::peek(1), Some(2));
//! own.advance(Duration::from_secs(1));
//! assert_eq!(double::peek(1), None);
//! ```

#[cfg(feature = "backend")]
mod conformance;

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;

#[cfg(feature = "backend")]
use crate::backend::{driver::Driver, engines, url::Url};
use crate::function::{Function, State};
use crate::store::{Inner, janitor};

#[cfg(feature = "backend")]
pub use conformance::{conformance, conformance_of_twins};

thread_local! {
    static ENTERED: RefCell<Option<Isolated>> = const { RefCell::new(None) };
}

/// Gives the calls of this thread a store of their own, empty, with a clock that stands still, until
/// the guard is dropped. Tests that begin with it can run side by side.
///
/// Threads and tasks that the test starts take part by [`Isolated::enter`] and [`Isolated::run`].
#[must_use = "the store lasts as long as the guard"]
pub fn isolated() -> Guard {
    let store = Inner::new();
    store.clock.freeze();
    let isolated = Isolated(Arc::new(Own { store, states: Mutex::default(), capacities: Mutex::default() }));
    isolated.enter()
}

/// The driver of a URL, for [`conformance`], or to be what a driver of a test's own passes its operations to.
///
/// ```
/// use cached_runtime::testing;
///
/// let memory = testing::driver("memory://");
/// testing::conformance(|| memory.clone());
/// ```
///
/// # Panics
///
/// If it is not a URL of a backend that this build knows.
#[cfg(feature = "backend")]
#[must_use]
pub fn driver(url: &str) -> Arc<dyn Driver> {
    let parsed = Url::parse(url).unwrap_or_else(|error| panic!("{error}"));
    engines::open(&parsed).unwrap_or_else(|why| panic!("{why}")).driver
}

/// Stops the clock of the current store, the one of the process unless the thread is in one of its own.
pub fn freeze() {
    Inner::current().clock.freeze();
}

/// Moves the clock of the current store on; what has expired by then is removed. A clock that runs is
/// stopped first. The values of a backend age by it, too; what engines remove by themselves, such as claims and
/// the word of an `error_backoff`, goes by the time of the engine, also in `memory://`.
///
/// ```
/// use std::time::Duration;
/// use cached_runtime::{cached, testing};
///
/// #[cached(timeout = 300)]
/// fn double(n: u64) -> u64 {
///     n * 2
/// }
///
/// testing::freeze();
/// double(1);
/// testing::advance(Duration::from_secs(300));
/// assert_eq!(double::peek(1), None);
/// testing::resume();
/// ```
pub fn advance(by: Duration) {
    Inner::current().clock.advance(by);
    janitor::call();
}

/// Lets the clock of the current store run again.
pub fn resume() {
    Inner::current().clock.resume();
    janitor::call();
}

/// A store of a test's own; see [`isolated`]. Clones are the same store.
#[derive(Clone)]
pub struct Isolated(Arc<Own>);

struct Own {
    store: &'static Inner,
    states: Mutex<HashMap<usize, &'static State>>,
    capacities: Mutex<HashMap<String, usize>>,
}

/// Its states are small and stay; its values go.
impl Drop for Own {
    fn drop(&mut self) {
        self.store.clear();
        janitor::forget(self.store);
        #[cfg(feature = "backend")]
        crate::backend::forget(self.store);
        janitor::free_all();
    }
}

impl Isolated {
    /// The one that this thread has entered.
    pub(crate) fn here() -> Option<Self> {
        ENTERED.try_with(|entered| entered.borrow().clone()).ok().flatten()
    }

    /// Lets the calls of the current thread use this store until the guard is dropped.
    ///
    /// ```
    /// use cached_runtime::{cached, testing};
    ///
    /// #[cached(timeout = 300)]
    /// fn double(n: u64) -> u64 {
    ///     n * 2
    /// }
    ///
    /// let own = testing::isolated();
    /// let store = own.store();
    /// std::thread::spawn(move || {
    ///     let _entered = store.enter();
    ///     double(1)
    /// })
    /// .join()
    /// .unwrap();
    /// assert_eq!(double::stats().misses, 1);
    /// ```
    #[must_use = "the calls use this store as long as the guard lives"]
    pub fn enter(&self) -> Guard {
        let outer = ENTERED.replace(Some(self.clone()));
        Guard { own: self.clone(), outer, not_send: PhantomData }
    }

    /// Lets the calls within a future use this store, wherever it is polled.
    ///
    /// ```
    /// use cached_runtime::{cached, testing};
    ///
    /// #[cached(timeout = 300)]
    /// async fn double(n: u64) -> u64 {
    ///     n * 2
    /// }
    ///
    /// let own = testing::isolated();
    /// let task = own.store().run(async { double(1).await });
    /// # use std::{future::Future, pin::pin, task::{Context, Poll, Waker}};
    /// # assert_eq!(pin!(task).poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(2));
    /// ```
    pub fn run<F: Future>(&self, future: F) -> Run<F> {
        Run { own: self.clone(), future: Box::pin(future) }
    }
}

/// Keeps a thread in a store of a test's own; from [`isolated`] and [`Isolated::enter`].
#[must_use = "the calls use this store as long as the guard lives"]
pub struct Guard {
    own: Isolated,
    outer: Option<Isolated>,
    not_send: PhantomData<*const ()>,
}

impl Guard {
    /// The store itself, to be given to other threads.
    #[must_use]
    pub fn store(&self) -> Isolated {
        self.own.clone()
    }

    /// Gives the function of this name another capacity in this store; to be said before its first call
    /// here.
    ///
    /// ```
    /// use cached_runtime::{cached, testing};
    ///
    /// #[cached(name = "double")]
    /// fn double(n: u64) -> u64 {
    ///     n * 2
    /// }
    ///
    /// let own = testing::isolated();
    /// own.set_capacity("double", 2);
    /// (0..10).for_each(|n| {
    ///     double(n);
    /// });
    /// assert_eq!(double::stats().entries, 2);
    /// ```
    ///
    /// # Panics
    ///
    /// If the capacity is 0.
    pub fn set_capacity(&self, name: &str, capacity: usize) {
        assert!(capacity > 0, "a capacity is at least 1");
        self.own.0.capacities.lock().insert(name.to_owned(), capacity);
    }

    /// Moves its clock on; what has expired by then is removed.
    pub fn advance(&self, by: Duration) {
        self.own.0.store.clock.advance(by);
        janitor::call();
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        ENTERED.replace(self.outer.take());
    }
}

/// A future whose calls use a store of a test's own; from [`Isolated::run`].
pub struct Run<F> {
    own: Isolated,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for Run<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let _entered = self.own.enter();
        self.future.as_mut().poll(context)
    }
}

pub(crate) fn entered() -> Option<&'static Inner> {
    ENTERED.try_with(|entered| entered.borrow().as_ref().map(|own| own.0.store)).ok().flatten()
}

/// The state of a function in the store that this thread has entered.
pub(crate) fn state_of(function: &'static Function) -> Option<&'static State> {
    let own = Isolated::here()?;
    let address = std::ptr::from_ref(function) as usize;
    let mut states = own.0.states.lock();
    Some(*states.entry(address).or_insert_with(|| {
        let capacity = own.0.capacities.lock().get(function.name()).copied();
        function.first_state(own.0.store, capacity.unwrap_or_else(|| function.capacity()))
    }))
}

macro_rules! opaque {
    ($($name:ident $(<$param:ident>)?),*) => {$(
        impl $(<$param>)? fmt::Debug for $name $(<$param>)? {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    )*};
}
opaque!(Isolated, Guard, Run<F>);
