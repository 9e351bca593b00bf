use cached_runtime::cached;

#[cached(timeout = 60, stale_while_revalidate = 60)]
unsafe fn f(id: u64) -> u64 {
    id
}

fn main() {
    unsafe { f(1) };
}
