impl Repo {
    fn load(&self, id: u64) -> Option<Row> {
        let step = ::cached_runtime::__rt::begin(
            {
                static __FUNCTION: ::cached_runtime::__rt::Function = ::cached_runtime::__rt::Function::new(
                    ::core::concat!(::core::module_path!(), "::load"),
                    ::cached_runtime::__rt::Policy::new()
                        .timeout(::core::time::Duration::new(300u64, 0u32)),
                );
                &__FUNCTION
            },
            ::cached_runtime::__rt::value(
                ::cached_runtime::__rt::Ret::<fn() -> Option<Row>>::NEW.__outcome(),
            ),
            ::cached_runtime::__rt::type_of(&|| {}),
            (
                ::cached_runtime::__rt::key(
                    ::cached_runtime::__rt::Val::new(&id).__view(),
                ),
            ),
        );
        match step {
            ::cached_runtime::__rt::Step::Return(value) => value,
            ::cached_runtime::__rt::Step::Run(call) => {
                call.run(move || -> Option<Row> { self.query(id) })
            }
        }
    }
}
