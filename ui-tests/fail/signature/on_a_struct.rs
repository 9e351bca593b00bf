use cached_runtime::cached;

#[cached]
struct Item {
    id: u64,
}

fn main() {}
