use cached_runtime::{cached, invalidates};

#[cached]
fn get_user(id: u64) -> u64 {
    id
}

type Later = std::pin::Pin<Box<dyn Future<Output = ()>>>;

#[invalidates(get_user(id))]
fn save(id: u64) -> Later {
    Box::pin(async move { drop(id.to_string()) })
}

fn main() {}
