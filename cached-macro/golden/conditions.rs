#[cached(bypass_if = id == 0, refresh_if = force, skip(force))]
fn item(id: u64, force: bool) -> Item {
    load(id)
}
