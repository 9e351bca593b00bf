use cached_runtime::cached;

#[derive(Clone)]
struct Item;

#[cached(backend = "memory://")]
fn f(id: u64) -> Item {
    let _ = id;
    Item
}

fn main() {}
