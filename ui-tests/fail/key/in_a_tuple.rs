use cached_runtime::cached;

#[cached]
fn f(point: (u64, f64)) -> u64 {
    point.0
}

fn main() {}
