use cached_runtime::cached;

#[cached]
fn f(query: Query, page: u64) -> u64 {
    page
}

fn main() {}
