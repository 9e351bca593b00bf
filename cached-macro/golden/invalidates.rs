#[invalidates(users::get(id), list_users, tag("user:{id}"))]
pub fn rename(id: u64, name: &str) -> Result<(), Error> {
    write(id, name)
}
