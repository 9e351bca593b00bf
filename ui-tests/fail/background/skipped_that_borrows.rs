use cached_runtime::cached;

#[derive(Clone)]
struct Db<'a>(&'a u64);

#[cached(timeout = 60, stale_while_revalidate = 60, skip(db))]
fn f(id: u64, db: Db<'_>) -> u64 {
    id + db.0
}

fn main() {
    f(1, Db(&1));
}
