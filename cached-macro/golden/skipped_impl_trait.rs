#[cached(skip(db))]
fn load(db: &impl Db, id: u64) -> Row {
    db.query(id)
}
