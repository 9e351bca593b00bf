#[cached(tags("user:{id}", "all-users"))]
fn user(id: u64) -> User {
    load(id)
}
