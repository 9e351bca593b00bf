use cached_runtime::cached;

#[cached(local_timeout = "5s")]
fn f(id: u64) -> u64 {
    id
}

fn main() {}
