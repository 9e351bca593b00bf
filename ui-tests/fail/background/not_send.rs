use cached_runtime::cached;
use std::rc::Rc;

#[cached(timeout = 60, stale_if_error = 60, max_wait = "50ms", skip(db))]
fn f(id: u64, db: Rc<u64>) -> u64 {
    id + *db
}

fn main() {
    f(1, Rc::new(1));
}
