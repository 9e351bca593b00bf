use cached_runtime::cached;

#[cached(key = 1)]
fn f(id: u64) -> u64 {
    id
}

fn main() {
    f(1);
}
