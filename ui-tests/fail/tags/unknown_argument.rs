use cached_runtime::cached;

#[cached(tags("user:{number}"))]
fn get_user(id: u64) -> u64 {
    id
}

fn main() {}
