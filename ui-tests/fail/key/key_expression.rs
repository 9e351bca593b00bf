use cached_runtime::cached;

#[cached(key = ratio * 2.0)]
fn f(ratio: f64) -> u64 {
    ratio as u64
}

fn main() {}
