use cached_runtime::{cached, invalidates};

#[cached]
fn get_user(id: u64) -> u64 {
    id
}

trait Repo {
    #[invalidates(get_user(id))]
    fn save(&self, id: u64);
}

fn main() {}
