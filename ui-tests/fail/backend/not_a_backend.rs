use cached_runtime::cached;

static PAGES: u8 = 0;

#[cached(backend = PAGES)]
fn f(id: u64) -> u64 {
    id
}

fn main() {}
