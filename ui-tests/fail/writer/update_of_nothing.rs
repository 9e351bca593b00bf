use cached_runtime::{cached, updates};

#[cached]
fn get_user(id: u64) -> u64 {
    id
}

#[updates(get_user(id))]
fn save(id: u64) -> Result<(), String> {
    Err(id.to_string())
}

fn main() {}
