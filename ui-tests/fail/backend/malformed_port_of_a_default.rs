use cached_runtime::Backend;

static PAGES: Backend = Backend::env("PAGES_CACHE", "memcached://127.0.0.1:port");

fn main() {
    println!("{PAGES}");
}
