use cached_runtime::cached;

#[cached(backend = "memory://?max_byte=64mb")]
fn f(id: u64) -> u64 {
    id
}

fn main() {}
