use cached_runtime::{cached, updates};

#[cached]
async fn get_user(id: u64) -> u64 {
    id
}

#[updates(get_user(id))]
fn save(id: u64) -> u64 {
    id
}

fn main() {}
