use cached_runtime::{cached, invalidates};

#[cached]
fn list() {}
fn get_user(id: u64) -> u64 {
    id
}

#[invalidates(get_user(id))]
fn save(id: u64) {
    list();
    get_user(id);
}

fn main() {}
