use cached_runtime::cached;

#[cached(tags("users"), backend = "memory://")]
fn get_user(id: u64) -> u64 {
    id
}

fn main() {}
