use cached_runtime::cached;

use std::rc::Rc;

#[cached]
fn f(id: u64) -> Rc<u64> {
    Rc::new(id)
}

fn main() {}
