async fn save(user: User) -> Option<User> {
    let entry0 = get_user::__entry(::cached_runtime::__rt::Place::of(&user.id).copy());
    let (kind, success) = {
        let returned = ::cached_runtime::__rt::run_async(async move || -> Option<User> {
                write(user).await
            })
            .await;
        let kind = ::cached_runtime::__rt::finished(
            ::cached_runtime::__rt::Returned::of(&returned).__kind(),
        );
        match ::cached_runtime::__rt::split(kind, returned) {
            ::core::result::Result::Ok(success) => (kind, success),
            ::core::result::Result::Err(failed) => return failed,
        }
    };
    let act0 = ::cached_runtime::__rt::begun(
            ::cached_runtime::__rt::Success::of(&success).update_async(entry0),
        )
        .await;
    ::cached_runtime::__rt::done([act0]).await;
    ::cached_runtime::__rt::join(kind, success)
}
