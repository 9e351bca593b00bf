use cached_runtime::cached;

#[cached(key = idd)]
fn f(id: u64) -> u64 {
    id
}

fn main() {
    f(1);
}
