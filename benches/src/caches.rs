//! The caches that are compared, each set up as its own page says.

use std::convert::Infallible;
use std::hash::Hash;
use std::time::Duration;

use quick_cache::Equivalent;

/// Ours, and all peers.
pub(crate) const NAMES: [&str; 5] = ["ours", "cached", "concurrent_cached", "moka", "quick_cache"];

/// One function under each attribute, with this capacity.
macro_rules! annotated {
    ($capacity:tt, fn $arguments:tt -> $value:ty { $($body:tt)* }) => {
        #[cached_runtime::cached(timeout = 3600, capacity = $capacity)]
        pub(super) fn ours $arguments -> $value { $($body)* }

        #[cached::macros::cached(max_size = $capacity, ttl_secs = 3600)]
        pub(super) fn cached $arguments -> $value { $($body)* }

        #[cached::macros::concurrent_cached(max_size = $capacity, ttl_secs = 3600)]
        pub(super) fn concurrent_cached $arguments -> $value { $($body)* }
    };
}
pub(crate) use annotated;

// As in the attributes, which take literals.
const TIMEOUT: Duration = Duration::from_hours(1);

pub(crate) fn moka<K, V>(capacity: usize) -> moka::sync::Cache<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    moka::sync::Cache::builder().max_capacity(capacity as u64).time_to_live(TIMEOUT).build()
}

/// Without a timeout: it has none.
pub(crate) fn quick_cache<K: Hash + Eq, V: Clone>(capacity: usize) -> quick_cache::sync::Cache<K, V> {
    quick_cache::sync::Cache::new(capacity)
}

/// A lookup that computes what is not there; by reference, because `get_with` allocates the key even for a
/// hit.
pub(crate) fn get_moka<K, V, Q>(cache: &moka::sync::Cache<K, V>, key: &Q, compute: impl FnOnce() -> V) -> V
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    Q: Hash + Equivalent<K> + ToOwned<Owned = K> + ?Sized,
{
    cache.get_with_by_ref(key, compute)
}

pub(crate) fn get_quick_cache<K, V, Q>(
    cache: &quick_cache::sync::Cache<K, V>,
    key: &Q,
    compute: impl FnOnce() -> V,
) -> V
where
    K: Hash + Eq,
    V: Clone,
    Q: Hash + Equivalent<K> + ToOwned<Owned = K> + ?Sized,
{
    let Ok(value) = cache.get_or_insert_with(key, || Ok::<_, Infallible>(compute()));
    value
}
