use cached_runtime::cached;

#[cached]
fn f(ratio: f64) -> u64 {
    ratio as u64
}

fn main() {}
