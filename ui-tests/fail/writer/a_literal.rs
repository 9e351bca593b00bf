use cached_runtime::{cached, invalidates};

#[cached]
fn get_user(id: u64) -> u64 {
    id
}

#[invalidates("user")]
fn save(id: u64) {
    get_user(id);
}

fn main() {}
