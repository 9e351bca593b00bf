use cached_runtime::cached;

#[cached(jitter = "10%")]
fn f(id: u64) -> u64 {
    id
}

fn main() {
    f(1);
}
