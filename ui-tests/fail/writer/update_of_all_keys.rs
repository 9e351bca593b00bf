use cached_runtime::{cached, updates};

#[cached]
fn get_user(id: u64) -> u64 {
    id
}

#[updates(get_user)]
fn save(id: u64) -> u64 {
    id
}

fn main() {}
