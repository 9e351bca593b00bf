use cached_runtime::cached;

#[cached(codec = json)]
fn f(id: u64) -> u64 {
    id
}

fn main() {}
