use cached_runtime::{cached, invalidates};

#[cached]
fn get_user(id: u64) -> u64 {
    id
}

#[invalidates(list_users)]
fn save(id: u64) {
    drop(get_user(id).to_string());
}

fn main() {}
