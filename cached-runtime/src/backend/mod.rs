//! Places outside the process that hold encoded entries.
//!
//! A function names its backend by the option `backend`: a [`Backend`], which is a static, or a URL.
//!
//! ```
//! use cached_runtime::{Backend, cached};
//!
//! // In production `PAGES_CACHE=memcached://10.0.0.1,10.0.0.2`.
//! static PAGES: Backend = Backend::env("PAGES_CACHE", "memory://");
//!
//! #[cached(timeout = "5m", backend = PAGES)]
//! fn page(slug: &str) -> String {
//!     format!("<h1>{slug}</h1>")
//! }
//!
//! assert_eq!(page("home"), page("home"));
//! assert_eq!(page::stats().backend_hits, 1);
//! ```

mod breaker;
#[cfg_attr(
    not(feature = "redis"),
    expect(dead_code, reason = "of the engines, Redis alone carries messages")
)]
mod broadcast;
pub mod codec;
pub mod driver;
pub(crate) mod encode;
pub(crate) mod engines;
pub(crate) mod envelope;
pub mod event;
mod generation;
mod lease;
pub(crate) mod link;
pub(crate) mod many;
#[cfg(feature = "memcached")]
pub mod memcached;
pub mod memory;
pub(crate) mod name;
pub mod null;
mod offload;
mod owed;
#[cfg(all(feature = "tokio", any(feature = "memcached", feature = "redis")))]
mod reactor;
#[cfg(feature = "redis")]
pub(crate) mod redis;
pub(crate) mod remote;
#[expect(missing_docs, reason = "seen by the expansion alone")]
pub(crate) mod shared;
#[cfg(feature = "sqlite")]
mod sqlite;
pub(crate) mod tags;
pub mod url;
mod verdict;

use std::env::{self, VarError};
use std::fmt;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::time::Duration;

use once_cell::sync::OnceCell;
use parking_lot::Mutex;

use crate::report::one_line;
use crate::store::Inner;
use driver::Driver;
use engines::Engine;
pub use event::{Event, on_event};
use link::Link;
pub use link::{BackendInfo, BackendState, Failure};
use url::{Scheme, Url};

/// A backend, as a static that functions name by the option `backend`. Connected when it is first needed.
///
/// ```
/// use cached_runtime::Backend;
///
/// static PAGES: Backend = Backend::env("PAGES_CACHE", "memory://?max_bytes=64mb");
/// static RATES: Backend = Backend::url("memory://");
/// ```
pub struct Backend {
    source: Source,
    link: OnceCell<Arc<Link>>,
}

enum Source {
    Url(&'static str),
    Env { variable: &'static str, default: &'static str },
    Driver { name: &'static str, open: fn() -> Arc<dyn Driver> },
}

impl Backend {
    /// The backend of a URL. All that name the same URL share one.
    ///
    /// # Panics
    ///
    /// If the URL is not one; in a static, while the program is built.
    ///
    /// ```compile_fail
    /// use cached_runtime::Backend;
    ///
    /// static PAGES: Backend = Backend::url("memcachd://127.0.0.1");
    /// ```
    #[track_caller]
    #[must_use]
    pub const fn url(url: &'static str) -> Self {
        must_be_right(url);
        Self { source: Source::Url(url), link: OnceCell::new() }
    }

    /// The backend of the URL in an environment variable, or of the default where that is not set or empty. If
    /// it is not a URL of a backend, the functions run without one, and [`backends`] says why.
    ///
    /// # Panics
    ///
    /// If the default is not a URL; in a static, while the program is built.
    #[track_caller]
    #[must_use]
    pub const fn env(variable: &'static str, default: &'static str) -> Self {
        must_be_right(default);
        Self { source: Source::Env { variable, default }, link: OnceCell::new() }
    }

    /// A driver of one's own, which is opened when it is first needed. The name is for [`backends`].
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cached_runtime::backend::memory::{Config, Memory};
    /// use cached_runtime::{Backend, cached};
    ///
    /// static OWN: Backend = Backend::driver("own", || Arc::new(Memory::new(Config::default())));
    ///
    /// #[cached(timeout = 60, backend = OWN)]
    /// fn double(n: u64) -> u64 {
    ///     n * 2
    /// }
    /// assert_eq!((double(4), double::peek(4)), (8, Some(8)));
    /// ```
    #[must_use]
    pub const fn driver(name: &'static str, open: fn() -> Arc<dyn Driver>) -> Self {
        Self { source: Source::Driver { name, open }, link: OnceCell::new() }
    }

    /// The link of this backend for the functions of a store.
    fn link(&self, store: &'static Inner) -> Arc<Link> {
        // A store of a test's own has a memory of its own.
        if !store.is_global()
            && let Some(url) = self.url_text().ok().and_then(|url| Url::parse(&url).ok())
            && url.scheme == Scheme::Memory
        {
            return of_url(&url, Some(store));
        }
        Arc::clone(self.link.get_or_init(|| self.open()))
    }

    fn open(&self) -> Arc<Link> {
        if let Source::Driver { open, .. } = &self.source {
            let open = *open;
            let open = move || match catch_unwind(open) {
                Ok(driver) => Ok(Engine { driver, broadcast: None }),
                Err(_) => Err("the driver's own `open` panicked".to_owned()),
            };
            return enlist(Link::new(self.to_string(), open));
        }
        let unusable = |message: String| enlist(Link::new(self.to_string(), move || Err(message.clone())));
        match self.url_text() {
            Ok(text) => match Url::parse(&text) {
                Ok(url) => of_url(&url, None),
                Err(error) => unusable(error.to_string()),
            },
            Err(message) => unusable(message.to_owned()),
        }
    }

    fn url_text(&self) -> Result<String, &'static str> {
        match &self.source {
            Source::Url(url) => Ok((*url).to_owned()),
            Source::Env { variable, default } => match env::var(variable) {
                Ok(url) if !url.trim().is_empty() => Ok(url.trim().to_owned()),
                Ok(_) | Err(VarError::NotPresent) => Ok((*default).to_owned()),
                Err(VarError::NotUnicode(_)) => Err("the environment variable is not Unicode"),
            },
            Source::Driver { .. } => Err("a driver has no URL"),
        }
    }
}

/// By its name, variable, or URL without secrets.
impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::Url(url) => match Url::parse(url) {
                Ok(url) => url.fmt(f),
                Err(error) => error.fmt(f),
            },
            Source::Env { variable, .. } => write!(f, "${variable}"),
            Source::Driver { name, .. } => f.write_str(&one_line(name)),
        }
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Backend({self})")
    }
}

#[track_caller]
const fn must_be_right(url: &str) {
    if let Some(error) = url::check(url) {
        panic!("{}", error.message())
    }
}

/// One backend that functions use.
struct Listed {
    /// Absent where it is not that of a URL.
    url: Option<Url>,
    /// That of the store that has it for itself.
    store: Option<&'static Inner>,
    link: Arc<Link>,
}

static LINKS: Mutex<Vec<Listed>> = Mutex::new(Vec::new());

fn enlist(link: Link) -> Arc<Link> {
    let link = Arc::new(link);
    LINKS.lock().push(Listed { url: None, store: None, link: Arc::clone(&link) });
    link
}

fn of_url(url: &Url, store: Option<&'static Inner>) -> Arc<Link> {
    let mut links = LINKS.lock();
    let is_same = |listed: &&Listed| {
        let same_store = match (listed.store, store) {
            (Some(one), Some(other)) => std::ptr::eq(one, other),
            (None, None) => true,
            _ => false,
        };
        same_store && listed.url.as_ref() == Some(url)
    };
    if let Some(listed) = links.iter().find(is_same) {
        return Arc::clone(&listed.link);
    }
    let open = {
        let url = url.clone();
        move || engines::open(&url)
    };
    let link = Arc::new(Link::of_url(url, open));
    links.push(Listed { url: Some(url.clone()), store, link: Arc::clone(&link) });
    link
}

/// Forgets what a store of a test's own had for itself.
#[cfg(feature = "testing")]
pub(crate) fn forget(store: &'static Inner) {
    let mut links = LINKS.lock();
    links.retain(|listed| listed.store.is_none_or(|it| !std::ptr::eq(it, store)));
    links.iter().for_each(|listed| listed.link.forget(store));
}

/// The backends that functions have used so far, each with its state: for health checks.
///
/// ```
/// use cached_runtime::{BackendState, backends, cached};
///
/// #[cached(timeout = 60, backend = "memory://?prefix=doc")]
/// fn double(n: u64) -> u64 {
///     n * 2
/// }
///
/// double(1);
/// let all = backends();
/// let memory = all.iter().find(|it| it.name == "memory://?prefix=doc").expect("it was used");
/// assert_eq!(memory.state, BackendState::Closed);
/// assert_eq!(memory.failures, 0);
/// ```
#[must_use]
pub fn backends() -> Vec<BackendInfo> {
    LINKS.lock().iter().map(|listed| listed.link.info()).collect()
}

/// A path that a function has, and a hash of its text.
pub(crate) type Place = (fn() -> &'static str, u64);

/// What the attribute says of a function's backend.
pub struct Shared {
    backend: &'static Backend,
    place: Option<Place>,
    version: u32,
    has_tags: bool,
    lease: Option<Duration>,
    local_timeout: Option<Duration>,
}

#[doc(hidden)]
impl Shared {
    #[must_use]
    pub const fn new(backend: &'static Backend) -> Self {
        Self { backend, place: None, version: 0, has_tags: false, lease: None, local_timeout: None }
    }

    /// Where the function stands, and a hash of its text, if its name does not tell it from others.
    #[must_use]
    pub const fn place(mut self, place: fn() -> &'static str, text: u64) -> Self {
        self.place = Some((place, text));
        self
    }

    #[must_use]
    pub const fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// Its entries have tags.
    #[must_use]
    pub const fn tagged(mut self) -> Self {
        self.has_tags = true;
        self
    }

    /// # Panics
    ///
    /// Here and below a bad value panics, at compile time, as these are called in a static.
    #[must_use]
    pub const fn lease(mut self, lease: Duration) -> Self {
        assert!(!lease.is_zero(), "`lease` must be longer than zero");
        self.lease = Some(lease);
        self
    }

    /// # Panics
    #[must_use]
    pub const fn local_timeout(mut self, timeout: Duration) -> Self {
        assert!(!timeout.is_zero(), "`local_timeout` must be longer than zero");
        self.local_timeout = Some(timeout);
        self
    }

    pub(crate) const fn has_tags(&self) -> bool {
        self.has_tags
    }

    pub(crate) const fn local(&self) -> Option<Duration> {
        self.local_timeout
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("backend", &self.backend).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::memory::{Config, Memory};
    use super::*;

    #[test]
    fn the_name_of_a_driver_is_one_line() {
        let own = Backend::driver("own\none", || Arc::new(Memory::new(Config::default())));
        assert_eq!(own.to_string(), "own\\none");
        assert_eq!(own.open().name, "own\\none");
    }
}
