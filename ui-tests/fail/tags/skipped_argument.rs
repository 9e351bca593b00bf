use cached_runtime::cached;

#[cached(skip(group), tags("all", "group:{group}"))]
fn get_user(id: u64, group: &str) -> String {
    format!("{group} {id}")
}

fn main() {}
