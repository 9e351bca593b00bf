use cached_runtime::{cached, invalidates};

mod users {
    #[cached_runtime::cached]
    pub fn get(id: u64) -> u64 {
        id
    }
}
#[cached]
fn other() {}

#[invalidates(users::find(id), other)]
fn save(id: u64) {
    drop(id.to_string());
}

fn main() {}
