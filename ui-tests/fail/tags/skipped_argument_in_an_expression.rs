use cached_runtime::cached;

#[cached(skip(group), tags(group.len()))]
fn get_user(id: u64, group: &str) -> String {
    format!("{group} {id}")
}

fn main() {}
