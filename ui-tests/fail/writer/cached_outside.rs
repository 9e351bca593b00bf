use cached_runtime::{cached, updates};

#[cached]
fn get_user(id: u64) -> u64 {
    id
}

#[cached]
#[updates(get_user(id))]
fn save(id: u64) -> u64 {
    id
}

fn main() {}
