#[cached(tags("user:{id}", "all-users"), backend = USERS)]
fn user(id: u64) -> User {
    load(id)
}
