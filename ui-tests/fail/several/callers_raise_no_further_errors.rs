use cached_runtime::cached;

mod inner {
    #[cached_runtime::cached(timeout = "soon")]
    pub fn item(id: u64) -> u64 {
        id
    }
}

use inner::item;

#[cached]
fn f(id: u64) -> u64 {
    item(id)
}

fn main() {
    f(item(1));
}
