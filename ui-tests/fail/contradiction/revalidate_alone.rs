use cached_runtime::cached;

#[cached(timeout = 60, stale_if_error = 60, revalidate = "inline")]
fn f(id: u64) -> u64 {
    id
}

fn main() {
    f(1);
}
