#[cached(timeout = |item| item.max_age(), capacity = 1 << 20, weigh = |item| item.len(), cache_if = Item::is_complete, cache_err, negative_timeout = "1s", jitter = "10%", single_flight = false, name = "catalog.item")]
fn item(id: u64) -> Result<Item, Error> {
    load(id)
}
