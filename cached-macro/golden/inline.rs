#[cached(timeout = 60, stale_while_revalidate = 60, revalidate = "inline", skip(db))]
fn item(id: u64, db: &mut Db) -> Item {
    db.load(id)
}
