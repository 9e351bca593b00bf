use cached_runtime::cached;

#[cached]
fn f(id: u64) -> Result<Item, String> {
    Err(id.to_string())
}

fn main() {}
