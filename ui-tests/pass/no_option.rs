use cached_runtime::cached;

/// As plain as it can be.
#[cached]
fn item(id: u64) -> u64 {
    id
}

fn main() {
    item(1);
}
