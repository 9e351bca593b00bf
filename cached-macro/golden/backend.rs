#[cached(timeout = "5m", backend = PAGES, version = 2, lease = "10s", local_timeout = 5, codec = json)]
pub async fn page(slug: &str) -> Result<Page, Error> {
    render(slug).await
}
