use cached_runtime::cached;

#[cached(save, tags("users"))]
fn f(id: u64) -> u64 {
    id
}

fn main() {}
