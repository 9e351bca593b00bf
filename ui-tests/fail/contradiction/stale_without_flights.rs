use cached_runtime::cached;

#[cached(timeout = 60, stale_while_revalidate = 60, single_flight = false)]
fn f(id: u64) -> u64 {
    id
}

fn main() {
    f(1);
}
