#[cached(
    timeout = "5m",
    stale_while_revalidate = "1m",
    stale_if_error = "1h",
    error_backoff = 5,
    refresh_ahead = 0.8,
    max_wait = "50ms",
    skip(db)
)]
pub fn item(id: u64, lang: &str, db: Option<&Db>) -> Result<Item, Error> {
    load(id, lang)
}
