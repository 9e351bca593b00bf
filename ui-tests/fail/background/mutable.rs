use cached_runtime::cached;

#[cached(timeout = 60, refresh_ahead = 0.8, skip(db))]
fn f(id: u64, db: &mut Vec<u64>) -> u64 {
    db.push(id);
    id
}

fn main() {
    f(1, &mut vec![]);
}
