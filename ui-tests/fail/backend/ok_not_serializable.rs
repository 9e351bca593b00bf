use cached_runtime::cached;

#[derive(Clone)]
struct Item;

#[cached(backend = "memory://")]
fn f(id: u64) -> Result<Item, String> {
    let _ = id;
    Ok(Item)
}

fn main() {}
