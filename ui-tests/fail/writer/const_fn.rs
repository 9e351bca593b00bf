use cached_runtime::{cached, invalidates};

#[cached]
fn get_user(id: u64) -> u64 {
    id
}

#[invalidates(get_user(1))]
const fn save() {}

fn main() {}
