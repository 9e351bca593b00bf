#[cached(timeout = 300)]
async fn page(slug: &str) -> Result<Page, Error> {
    let row = fetch(slug).await?;
    Ok(render(row))
}
