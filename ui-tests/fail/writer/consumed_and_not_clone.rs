use cached_runtime::{cached, invalidates};

struct Id(u64);
#[cached(key = id.0)]
fn get_user(id: Id) -> u64 {
    id.0
}

#[invalidates(get_user(id))]
fn save(id: Id) {
    drop(id.0.to_string());
}

fn main() {}
