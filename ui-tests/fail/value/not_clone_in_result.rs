use cached_runtime::cached;

struct Item;

#[cached]
fn f(id: u64) -> Result<Item, String> {
    let _ = id;
    Ok(Item)
}

fn main() {}
