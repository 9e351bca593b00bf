#[cached(crate = prelude::cache)]
fn item(id: u64) -> Item {
    load(id)
}
