use cached_runtime::cached;

struct Item;

#[cached]
fn f(id: u64) -> Item {
    let _ = id;
    Item
}

fn main() {}
