use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use cached_runtime::cached;

const MINUTE: Duration = Duration::from_secs(60);

#[cached(
    timeout = 60,
    stale_while_revalidate = MINUTE,
    stale_if_error = "1h",
    error_backoff = Duration::from_millis(500),
    refresh_ahead = 0.8,
    max_wait = "50ms",
    revalidate = "background",
    skip(db)
)]
fn item(id: u64, lang: Option<&str>, name: Cow<'_, str>, db: &Arc<u64>) -> Result<String, std::io::Error> {
    Ok(format!("{id}{lang:?}{name}{db}"))
}

// A parameter named like the function, an argument that nobody mentions, and a deprecated function.
#[cached(timeout = |_| MINUTE, refresh_ahead = "xfetch")]
#[deprecated]
fn named(named: u64, _unused: u8) -> u64 {
    named
}

#[cached(timeout = MINUTE, stale_while_revalidate = 60, skip(db), revalidate = "inline")]
fn borrowed(id: u64, db: &mut Vec<u64>) -> u64 {
    db.push(id);
    id
}

#[derive(Clone)]
struct Repo<T>(T);

impl<T: ToString + Clone + Send + Sync + 'static> Repo<T> {
    #[cached(timeout = 60, stale_while_revalidate = 60, skip(self))]
    fn load(&self, id: u64) -> String {
        format!("{}{id}", self.0.to_string())
    }

    #[cached(timeout = 60, stale_while_revalidate = 60, skip(self), handle = load_cache)]
    async fn load_async(self: Arc<Self>, ids: &[&str]) -> String {
        format!("{}{ids:?}", self.0.to_string())
    }
}

trait Load {
    fn load(&self, id: u64) -> u64;
}

impl Load for u64 {
    #[cached(timeout = 60, stale_while_revalidate = 60, revalidate = "inline")]
    fn load(&self, id: u64) -> u64 {
        self + id
    }
}

#[allow(deprecated)]
fn main() {
    assert_eq!(item(1, Some("a"), "b".into(), &Arc::new(2)).unwrap(), "1Some(\"a\")b2");
    assert_eq!((named(1, 2), borrowed(1, &mut vec![])), (1, 1));
    assert_eq!((Repo(1).load(2), Load::load(&1, 2)), ("12".to_owned(), 3));
    drop(Arc::new(Repo(1)).load_async(&["a"]));
}
