use cached_runtime::cached;

const NONE: usize = 0;

#[cached(capacity = NONE)]
fn f(id: u64) -> u64 {
    id
}

fn main() {
    f(1);
}
