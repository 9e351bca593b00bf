#[cached(save, timeout = 300, version = 2)]
pub fn report(year: u32, lang: &str) -> Result<Report, Error> {
    draw(year, lang)
}
