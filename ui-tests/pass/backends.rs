use std::time::Duration;

use cached_runtime::{Backend, cached};

mod caches {
    pub static PAGES: cached_runtime::Backend = cached_runtime::Backend::url("memory://?prefix=pages");
}

static OWN: Backend = Backend::env("OWN_CACHE_OF_THIS_TEST", "memory://");
const VERSION: u32 = 3;
const LEASE: Duration = Duration::from_secs(1);

#[cached(backend = OWN, version = VERSION, lease = LEASE, local_timeout = "5s", codec = json, capacity = 9)]
fn all<T: cached_runtime::Key + serde::Serialize + Clone>(thing: T, n: &str) -> Option<String> {
    let _ = thing;
    Some(n.to_owned())
}

#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Page(String);

#[cached(timeout = 60, backend = caches::PAGES, refresh_if = slug.is_empty())]
async fn page(slug: &str) -> Result<Page, std::io::Error> {
    Ok(Page(slug.to_owned()))
}

struct Repo;

impl Repo {
    #[cached(backend = "memory://", skip(self), handle = load_cache)]
    async fn load(&self, id: u64) -> u64 {
        id
    }
}

fn is_send<T: Send>(value: T) -> T {
    value
}

fn main() {
    assert_eq!((all(1, "a"), all("1", "a")), (Some("a".into()), Some("a".into())));
    assert_eq!(all::stats().computations, 2);
    drop(is_send(page("a")));
    drop(is_send(page::invalidate("a")));
    drop(is_send(page::peek("a")));
    drop(is_send(page::put("a", Ok(Page("a".into())))));
    drop(is_send(page::refresh("a")));
    drop(is_send(Repo.load(1)));
    drop(is_send(Repo.load_cache(1).peek()));
    drop(is_send(Repo.load_cache(1).put(2)));
}
