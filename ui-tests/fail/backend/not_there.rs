use cached_runtime::cached;

#[cached(backend = PAGES)]
fn f(id: u64) -> u64 {
    id
}

fn main() {}
