use cached_runtime::{cached, invalidates};

#[cached]
fn get_user(id: u64) -> u64 {
    id
}

#[invalidates(get_user::clear)]
fn save(id: u64) {
    drop(id.to_string());
}

fn main() {}
