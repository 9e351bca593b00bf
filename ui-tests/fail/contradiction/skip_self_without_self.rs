use cached_runtime::cached;

#[cached(skip(self))]
fn f(id: u64) -> u64 {
    id
}

fn main() {
    f(1);
}
