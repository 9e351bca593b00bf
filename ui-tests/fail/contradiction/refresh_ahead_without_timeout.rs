use cached_runtime::cached;

#[cached(refresh_ahead = "xfetch")]
fn f(id: u64) -> u64 {
    id
}

fn main() {
    f(1);
}
