#[cached(timeout = 300)]
pub fn item(id: u64, lang: &str) -> Result<Item, Error> {
    load(id, lang)
}
