use cached_runtime::cached;

#[cached(idle_timeout = |v| v)]
fn f(id: u64) -> u64 {
    id
}

fn main() {
    f(1);
}
