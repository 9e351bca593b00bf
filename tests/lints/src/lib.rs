//! What the attribute emits raises no lint in its user's crate, however strict that is.

#![deny(
    warnings,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    unused_qualifications,
    rust_2018_idioms,
    single_use_lifetimes,
    elided_lifetimes_in_paths,
    let_underscore_drop,
    unused_results,
    nonstandard_style,
    non_camel_case_types,
    unused,
    unused_braces,
    deprecated,
    unnameable_types,
    clippy::all,
    clippy::pedantic,
    clippy::nursery
)]
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use cached_runtime::{cached, invalidates, updates};

/// The longest time.
const LONG: Duration = Duration::from_secs(600);

/// A public function.
///
/// # Errors
///
/// If `id` is 0.
#[cached(timeout = 300)]
pub fn item(id: u64, lang: &str) -> Result<String, String> {
    if id == 0 {
        return Err(format!("no item in {lang}"));
    }
    Ok(format!("item {id} in {lang}"))
}

/// A public `async` function.
#[cached(timeout = LONG, cache_if = |text: &String| !text.is_empty(), skip(verbose))]
#[must_use]
pub async fn page(slug: &str, verbose: bool) -> String {
    let title = heading(slug.len()).await;
    if verbose { format!("{title}: {slug}") } else { title }
}

#[cached]
async fn heading(level: usize) -> String {
    "#".repeat(level)
}

/// A generic function.
#[cached(capacity = 100, weigh = String::len)]
#[must_use]
pub fn show<T, const N: usize>(
    things: [T; N],
    (a, b): (u8, Cow<'_, str>),
    mut times: u8,
    _: u8,
    _more: u8,
) -> String
where
    T: std::fmt::Debug + Clone + std::hash::Hash + Eq + Send + Sync + 'static,
{
    times += 1;
    format!("{things:?} {a} {b} {times}")
}

/// A deprecated function.
#[deprecated(note = "there is a better one")]
#[cached]
#[must_use]
pub fn former(n: u8) -> u8 {
    n
}

/// Takes its arguments apart.
#[cached(key = (a, _b), refresh_if = *a == 0)]
#[must_use]
pub fn pair((mut a, _b): (u8, u8), _unit: &impl Fn() -> u8, (_, unused): (u8, u8)) -> u8 {
    a += unused;
    a
}

#[cached(skip(_make))]
fn made(_make: &impl Fn() -> u8, (n, _): (u8, u8)) -> u8 {
    n
}

/// Uses what is private.
#[must_use]
pub fn uses(n: u8) -> u8 {
    made(&|| n, (n, n))
}

/// A type with methods.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub struct Repo {
    id: u64,
}

/// A trait.
pub trait Load {
    /// Loads a row.
    fn load(&self, id: u64) -> Option<Arc<str>>;

    /// Describes a row.
    #[cached(skip(self))]
    fn describe(&self, id: u64) -> String {
        format!("{:?}", self.load(id))
    }
}

impl Load for Repo {
    #[cached(timeout = "1m", jitter = "5%")]
    fn load(&self, id: u64) -> Option<Arc<str>> {
        (id > 0).then(|| format!("{} {id}", self.id).into())
    }
}

impl Repo {
    /// A repository.
    #[must_use]
    pub const fn new(id: u64) -> Self {
        Self { id }
    }

    /// A public method with a handle.
    #[cached(key = (self.id, name), handle = count_cache, bypass_if = name.is_empty())]
    #[must_use]
    pub fn count(&self, name: &str) -> usize {
        name.len() + usize::from(self.id > 0)
    }

    /// A deprecated method with a handle.
    #[deprecated(note = "there is a better one")]
    #[cached(skip(self), handle = former_cache)]
    #[must_use]
    pub fn former(&self, (n, _): (u8, u8)) -> u8 {
        n
    }

    /// A public `async` method with a handle.
    #[cached(skip(self), handle = later_cache)]
    pub async fn later(&self, name: &str) -> usize {
        let text = page(name, true).await;
        text.len()
    }

    #[cached]
    fn hidden(n: u8) -> u8 {
        #[cached]
        fn inner(n: u8) -> u8 {
            n + 1
        }
        inner(n)
    }

    /// Uses what is private.
    #[must_use]
    pub fn visible(n: u8) -> u8 {
        Self::hidden(n)
    }
}

/// A backend.
pub static SHARED: cached_runtime::Backend = cached_runtime::Backend::env("LINTS_CACHE", "memory://");

/// What is kept in it.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
pub struct Kept {
    /// A number.
    pub number: u8,
}

/// A public function with a backend.
#[cached(timeout = 60, backend = SHARED, version = 2, lease = "1s", local_timeout = "5s", codec = json)]
#[must_use]
pub fn kept(number: u8, name: &str) -> Option<Kept> {
    (name.len() > 1).then_some(Kept { number })
}

/// The same, `async`.
#[cached(backend = "memory://", cache_err)]
pub async fn kept_later(number: u8) -> Result<Kept, String> {
    let text = page("name", true).await;
    if text.is_empty() { Err(text) } else { Ok(Kept { number }) }
}

/// Has methods with a backend.
#[derive(Clone, Copy, Debug)]
pub struct Keeps;

impl Keeps {
    /// A public `async` method with a backend and a handle.
    #[cached(backend = SHARED, skip(self), handle = load_kept_cache)]
    pub async fn load_kept(&self, number: u8) -> Kept {
        let text = page("name", false).await;
        Kept { number: if text.is_empty() { 0 } else { number } }
    }
}

/// A function with tags.
#[cached(tags("user:{id}", "all", name.len()))]
#[must_use]
pub fn tagged(id: u64, name: &str) -> Option<String> {
    (id > 0).then(|| name.to_owned())
}

/// A writer.
///
/// # Errors
///
/// If `name` is empty.
#[invalidates(item(id, &name), tagged, tag("user:{id}"), tag("all"))]
pub fn save(id: u64, name: String) -> Result<String, String> {
    if name.is_empty() {
        return Err(format!("no name for {id}"));
    }
    Ok(name)
}

/// A writer of nothing.
#[invalidates(before, tagged(1, "a"))]
pub fn touch() {
    drop(tagged(1, "a"));
}

/// A writer that returns the new value.
#[updates(tagged(id, name))]
#[invalidates(item)]
#[must_use]
pub fn write(id: u64, name: &str) -> Option<String> {
    (id > 0).then(|| name.to_owned())
}

impl Keeps {
    /// A writer with handles.
    #[invalidates(self.load_kept_cache(number), kept_later(number), kept)]
    pub async fn save_kept(&mut self, number: u8) {
        drop(page("name", false).await);
        *self = Self;
        let _ = number;
    }

    /// An `async` writer that returns the new value.
    ///
    /// # Errors
    ///
    /// If there is no page.
    #[updates(self.load_kept_cache(number), kept_later(number))]
    pub async fn write_kept(&self, number: u8) -> Result<Kept, std::num::ParseIntError> {
        Ok(Kept { number: page("7", false).await.parse::<u8>()? + number })
    }
}
