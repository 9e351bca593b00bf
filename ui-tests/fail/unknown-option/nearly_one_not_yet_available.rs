use cached_runtime::cached;

#[cached(tag("user:{id}"))]
fn f(id: u64) -> u64 {
    id
}

fn main() {
    f(1);
}
