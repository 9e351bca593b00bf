use cached_runtime::cached;

#[cached(lease = "10s")]
fn f(id: u64) -> u64 {
    id
}

fn main() {}
