use cached_runtime::cached;

#[cached]
const fn f(id: u64) -> u64 {
    id
}

fn main() {}
