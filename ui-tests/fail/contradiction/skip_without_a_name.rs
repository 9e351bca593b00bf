use cached_runtime::cached;

#[cached(skip(_))]
fn f(id: u64, _: u64) -> u64 {
    id
}

fn main() {
    f(1, 1);
}
