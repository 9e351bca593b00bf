use cached_runtime::cached;

#[cached(key = "{ id }")]
fn f(id: u64) -> u64 {
    id
}

fn main() {
    f(1);
}
