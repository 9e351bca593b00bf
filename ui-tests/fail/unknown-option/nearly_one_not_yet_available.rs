use cached_runtime::cached;

#[cached(stale_if_eror = "1h")]
fn f(id: u64) -> u64 {
    id
}

fn main() {
    f(1);
}
