#[updates(get_user(user.id))]
async fn save(user: User) -> Option<User> {
    write(user).await
}
