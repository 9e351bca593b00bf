use cached_runtime::cached;

#[cached(crate = "cached_runtime")]
fn f(id: u64) -> u64 {
    id
}

fn main() {
    f(1);
}
