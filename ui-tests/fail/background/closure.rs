use cached_runtime::cached;

#[cached(timeout = 60, stale_while_revalidate = 60, skip(load))]
fn f(id: u64, load: impl Fn(u64) -> u64) -> u64 {
    load(id)
}

fn main() {
    f(1, |id| id);
}
