#[cfg(unix)]
#[::cached_runtime::cached(timeout = 300)]
fn item(id: u64, user: u32) -> Item {
    load(id)
}
#[cfg(not(unix))]
#[::cached_runtime::cached(timeout = 300)]
fn item(id: u64) -> Item {
    load(id)
}
