impl Rates for Bank {
    fn rate(&self, pair: Pair) -> Rate {
        let step = ::cached_runtime::__rt::begin_shared(
            ::cached_runtime::__rt::Lookup::new(),
            {
                static __BACKEND: ::cached_runtime::Backend = ::cached_runtime::Backend::url(
                    "redis://127.0.0.1/0",
                );
                static __SHARED: ::cached_runtime::__rt::Shared = ::cached_runtime::__rt::Shared::new(
                        &__BACKEND,
                    )
                    .place(
                        || ::core::any::type_name_of_val(&|| {}),
                        6952469355545867371u64,
                    );
                static __FUNCTION: ::cached_runtime::__rt::Function = ::cached_runtime::__rt::Function::new(
                        ::core::concat!(::core::module_path!(), "::rate"),
                        ::cached_runtime::__rt::Policy::new()
                            .timeout(::core::time::Duration::new(60u64, 0u32)),
                    )
                    .shared(&__SHARED);
                &__FUNCTION
            },
            ::cached_runtime::__rt::coded(
                ::core::marker::PhantomData::<::cached_runtime::__rt::MessagePack>,
                ::cached_runtime::__rt::value(
                    ::cached_runtime::__rt::Ret::<fn() -> Rate>::NEW.__outcome(),
                ),
            ),
            ::cached_runtime::__rt::both(
                ::cached_runtime::__rt::type_of(&|| {}),
                ::core::marker::PhantomData::<(::core::marker::PhantomData<Self>,)>,
            ),
            (
                ::cached_runtime::__rt::in_backend(
                    ::cached_runtime::__rt::key(
                        ::cached_runtime::__rt::Arg::new(&pair).__view(),
                    ),
                ),
            ),
        );
        match step {
            ::cached_runtime::__rt::SharedStep::Return(value) => value,
            ::cached_runtime::__rt::SharedStep::Run(call) => {
                call.run(move || -> Rate { self.ask(pair) })
            }
        }
    }
}
