use cached_runtime::{cached, invalidates};

#[cached]
fn get_user(id: u64) -> u64 {
    id
}

#[invalidates(get_user(name))]
fn save(name: &str) {
    drop(name.to_owned());
}

fn main() {}
