use cached_runtime::cached;

#[cached(skip(id))]
fn f((id, page): (u64, u64)) -> u64 {
    id + page
}

fn main() {
    f((1, 1));
}
