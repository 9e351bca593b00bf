use cached_runtime::cached;

#[cached]
fn item(id: u64) -> u64 {
    id
}

fn main() {
    item::invalidate("one");
}
