impl Repo {
    async fn load(&self, id: u64) -> Row {
        let step = ::cached_runtime::__rt::begin(
            {
                static __FUNCTION: ::cached_runtime::__rt::Function = ::cached_runtime::__rt::Function::new(
                    ::core::concat!(::core::module_path!(), "::load"),
                    ::cached_runtime::__rt::Policy::new(),
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
                    ::cached_runtime::__rt::Arg::new(&(id)).__view(),
                ),
            ),
        );
        match step {
            ::cached_runtime::__rt::Step::Return(value) => value,
            ::cached_runtime::__rt::Step::Run(call) => {
                call.run_async(async move || -> Row { self.query(id).await }).await
            }
        }
    }
}
