impl Repo {
    pub fn load(&self, id: u64) -> Row {
        let step = ::cached_runtime::__rt::begin(
            Self::__load_cache_function(),
            ::cached_runtime::__rt::value(
                ::cached_runtime::__rt::Ret::<fn() -> Row>::NEW.__outcome(),
            ),
            ::core::marker::PhantomData::<(::core::marker::PhantomData<Self>,)>,
            (
                ::cached_runtime::__rt::key(
                    ::cached_runtime::__rt::Val::new(&id).__view(),
                ),
            ),
        );
        match step {
            ::cached_runtime::__rt::Step::Return(value) => value,
            ::cached_runtime::__rt::Step::Run(call) => {
                call.run(move || -> Row { self.query(id) })
            }
        }
    }
    #[doc(hidden)]
    #[allow(warnings, nonstandard_style, clippy::all, clippy::pedantic, clippy::nursery)]
    fn __load_cache_function() -> &'static ::cached_runtime::__rt::Function {
        static __FUNCTION: ::cached_runtime::__rt::Function = ::cached_runtime::__rt::Function::new(
            ::core::concat!(::core::module_path!(), "::load"),
            ::cached_runtime::__rt::Policy::new(),
        );
        &__FUNCTION
    }
    ///The handle of what [`load`](Self::load) has cached for these arguments.
    #[allow(warnings, nonstandard_style, clippy::all, clippy::pedantic, clippy::nursery)]
    pub fn load_cache(
        &self,
        id: u64,
    ) -> ::cached_runtime::Handle<
        impl ::cached_runtime::__rt::Entry<Returned = Row>,
        impl ::core::ops::FnOnce() -> Row,
    > {
        Self::__load_cache_function()
            .entry(
                ::cached_runtime::__rt::value(
                    ::cached_runtime::__rt::Ret::<fn() -> Row>::NEW.__outcome(),
                ),
                ::core::marker::PhantomData::<(::core::marker::PhantomData<Self>,)>,
                (
                    ::cached_runtime::__rt::key(
                        ::cached_runtime::__rt::Val::new(&id).__view(),
                    ),
                ),
            )
            .handle(move || self.load(id))
    }
}
