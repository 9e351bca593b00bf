use cached_runtime::cached;

#[cached(backend = "memory://?max_bytes=many")]
fn f(id: u64) -> u64 {
    id
}

fn main() {}
