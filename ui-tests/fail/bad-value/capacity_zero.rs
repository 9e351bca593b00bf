use cached_runtime::cached;

#[cached(capacity = 0)]
fn f(id: u64) -> u64 {
    id
}

fn main() {
    f(1);
}
