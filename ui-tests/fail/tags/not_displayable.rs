use cached_runtime::cached;

#[cached(tags("user:{id}"))]
fn get_user(id: Vec<u64>) -> u64 {
    id[0]
}

fn main() {}
