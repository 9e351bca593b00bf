impl<T: Source> Load for Vec<T> {
    fn load<const N: usize>(&self, ids: [u64; N]) -> String {
        let step = ::cached_runtime::__rt::begin(
            {
                static __FUNCTION: ::cached_runtime::__rt::Function = ::cached_runtime::__rt::Function::new(
                    ::core::concat!(::core::module_path!(), "::load"),
                    ::cached_runtime::__rt::Policy::new(),
                );
                &__FUNCTION
            },
            ::cached_runtime::__rt::value(
                ::cached_runtime::__rt::Ret::<fn() -> String>::NEW.__outcome(),
            ),
            ::cached_runtime::__rt::type_of(&|| {}),
            (
                ::cached_runtime::__rt::key(
                    ::cached_runtime::__rt::Arg::new(&N).__view(),
                ),
                ::cached_runtime::__rt::key(
                    ::cached_runtime::__rt::Arg::new(&ids).__view(),
                ),
            ),
        );
        match step {
            ::cached_runtime::__rt::Step::Return(value) => value,
            ::cached_runtime::__rt::Step::Run(call) => {
                call.run(move || -> String { self.describe(ids) })
            }
        }
    }
}
