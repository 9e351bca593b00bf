#[cached(timeout = 300)]
fn item(id: u64, #[cfg(unix)] user: u32) -> Item {
    load(id)
}
