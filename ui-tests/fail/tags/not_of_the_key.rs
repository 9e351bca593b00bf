use cached_runtime::cached;

#[cached(timeout = 60, key = id * 2, tags("item:{id}", "of:{owner}", owner.len()))]
fn item(id: u64, owner: &str) -> String {
    format!("{id} of {owner}")
}

fn main() {
    item(1, "me");
}
