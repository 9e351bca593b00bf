impl Repo {
    async fn rename(&mut self, name: String) {
        ::cached_runtime::__rt::forget_async(self.load_cache(&name)).await;
        ::cached_runtime::__rt::forget_async(Self::names_cache()).await;
        ::cached_runtime::store()
            .invalidate_tag_async(&::std::format!("name:{name}"))
            .await;
        let argument0_0 = ::cached_runtime::__rt::Place::of(&name).copy();
        let tag2 = ::std::format!("name:{name}");
        let (kind, success) = {
            let returned = ::cached_runtime::__rt::run_async(async || -> () {
                    self.write(name).await;
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
                ::cached_runtime::__rt::forget_async(self.load_cache(&argument0_0)),
            )
            .await;
        let act1 = ::cached_runtime::__rt::begun(
                ::cached_runtime::__rt::forget_async(Self::names_cache()),
            )
            .await;
        let act2 = ::cached_runtime::__rt::begun(
                ::cached_runtime::store().invalidate_tag_async(&tag2),
            )
            .await;
        ::cached_runtime::__rt::done([act0, act1, act2]).await;
        ::cached_runtime::__rt::join(kind, success)
    }
}
