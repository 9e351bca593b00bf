use cached_runtime::cached;

#[derive(Clone)]
struct Item;

#[cached(save)]
fn f(id: u64) -> Item {
    let _ = id;
    Item
}

fn main() {}
