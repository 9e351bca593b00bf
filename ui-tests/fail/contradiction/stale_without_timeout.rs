use cached_runtime::cached;

#[cached(stale_while_revalidate = 60)]
fn f(id: u64) -> u64 {
    id
}

fn main() {
    f(1);
}
