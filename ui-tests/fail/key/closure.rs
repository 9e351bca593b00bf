use cached_runtime::cached;

#[cached]
fn f(make: impl Fn() -> u64) -> u64 {
    make()
}

fn main() {}
