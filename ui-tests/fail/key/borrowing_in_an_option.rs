use cached_runtime::cached;

#[cached]
fn f(range: Option<(&str, u64)>) -> u64 {
    range.map_or(0, |range| range.1)
}

fn main() {}
