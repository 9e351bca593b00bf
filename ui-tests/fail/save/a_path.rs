use cached_runtime::cached;

#[cached(save = "/var/cache/f")]
fn f(id: u64) -> u64 {
    id
}

fn main() {}
