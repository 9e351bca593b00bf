use cached_runtime::cached;

#[cached(backend = "memcache://127.0.0.1")]
fn f(id: u64) -> u64 {
    id
}

fn main() {}
