use cached_runtime::cached;

#[cached(skip(db, db))]
fn f(db: u64) -> u64 {
    db
}

fn main() {
    f(1);
}
