impl Repo {
    pub async fn load(&self, ids: &[&str]) -> Row {
        let step = ::cached_runtime::__rt::begin(
            {
                static __FUNCTION: ::cached_runtime::__rt::Function = ::cached_runtime::__rt::Function::new(
                    ::core::concat!(::core::module_path!(), "::load"),
                    ::cached_runtime::__rt::Policy::new()
                        .timeout(::core::time::Duration::new(60u64, 0u32))
                        .refresh_ahead_xfetch(),
                );
                &__FUNCTION
            },
            ::cached_runtime::__rt::value(
                ::cached_runtime::__rt::Ret::<fn() -> Row>::NEW.__outcome(),
            ),
            ::cached_runtime::__rt::type_of(&|| {}),
            (
                ::cached_runtime::__rt::key(
                    ::cached_runtime::__rt::Arg::new(&(self.id)).__view(),
                ),
                ::cached_runtime::__rt::key(
                    ::cached_runtime::__rt::Arg::new(&(ids)).__view(),
                ),
            ),
        );
        match step {
            ::cached_runtime::__rt::Step::Return(value) => value,
            ::cached_runtime::__rt::Step::Run(call) => {
                call.background_async(|| {
                        let mut copy0 = ::cached_runtime::__rt::own::reference(&self);
                        let mut copy1 = ::cached_runtime::__rt::own::slice(&ids);
                        async move {
                            let value = Self::__load_recompute(
                                    copy0.lend().pass(),
                                    copy1.lend().pass(),
                                )
                                .await;
                            value
                        }
                    })
                    .run_async(async move || -> Row { self.query(ids).await })
                    .await
            }
        }
    }
    #[doc(hidden)]
    #[allow(warnings, nonstandard_style, clippy::all, clippy::pedantic, clippy::nursery)]
    fn __load_recompute(
        &self,
        ids: &[&str],
    ) -> impl ::core::future::Future<Output = Row> + ::core::marker::Send {
        self.load(ids)
    }
}
