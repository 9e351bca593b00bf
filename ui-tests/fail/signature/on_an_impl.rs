use cached_runtime::cached;

struct Item;

#[cached]
impl Item {
    fn id() -> u64 {
        1
    }
}

fn main() {}
