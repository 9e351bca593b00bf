pub fn report(year: u32, lang: &str) -> Result<Report, Error> {
    let step = ::cached_runtime::__rt::begin_saved(
        ::cached_runtime::__rt::Lookup::new(),
        report::__function(),
        ::cached_runtime::__rt::coded(
            ::core::marker::PhantomData::<::cached_runtime::__rt::MessagePack>,
            ::cached_runtime::__rt::value(
                ::cached_runtime::__rt::Ret::<fn() -> Result<Report, Error>>::NEW
                    .__outcome(),
            ),
        ),
        ::core::marker::PhantomData::<()>,
        (
            ::cached_runtime::__rt::in_file(
                ::cached_runtime::__rt::key(
                    ::cached_runtime::__rt::Val::new(&year).__view(),
                ),
            ),
            ::cached_runtime::__rt::in_file(
                ::cached_runtime::__rt::key(
                    ::cached_runtime::__rt::Ref::new(&lang).__view(),
                ),
            ),
        ),
    );
    match step {
        ::cached_runtime::__rt::Step::Return(value) => value,
        ::cached_runtime::__rt::Step::Run(call) => {
            call.run(move || -> Result<Report, Error> { draw(year, lang) })
        }
    }
}
///Controls what [`report()`](report()) has cached.
#[allow(warnings, nonstandard_style, clippy::all, clippy::pedantic, clippy::nursery)]
pub struct report {}
#[allow(warnings, nonstandard_style, clippy::all, clippy::pedantic, clippy::nursery)]
impl report {
    #[doc(hidden)]
    pub fn __function() -> &'static ::cached_runtime::__rt::Function {
        static __FUNCTION: ::cached_runtime::__rt::Function = ::cached_runtime::__rt::Function::new(
                ::core::concat!(::core::module_path!(), "::report"),
                ::cached_runtime::__rt::Policy::new()
                    .timeout(::core::time::Duration::new(300u64, 0u32)),
            )
            .saved(
                ::cached_runtime::__rt::Label::new()
                    .place(
                        || ::core::any::type_name_of_val(&|| {}),
                        396592708744295356u64,
                    )
                    .version(2),
            );
        &__FUNCTION
    }
    #[doc(hidden)]
    pub fn __entry(
        year: u32,
        lang: &str,
    ) -> ::cached_runtime::Handle<
        impl ::cached_runtime::__rt::EntryOf<fn() -> Result<Report, Error>> + use<>,
        (),
    > {
        Self::__function()
            .entry_saved(
                ::cached_runtime::__rt::coded(
                    ::core::marker::PhantomData::<::cached_runtime::__rt::MessagePack>,
                    ::cached_runtime::__rt::value(
                        ::cached_runtime::__rt::Ret::<fn() -> Result<Report, Error>>::NEW
                            .__outcome(),
                    ),
                ),
                ::core::marker::PhantomData::<()>,
                (
                    ::cached_runtime::__rt::in_file(
                        ::cached_runtime::__rt::key(
                            ::cached_runtime::__rt::Val::new(&year).__view(),
                        ),
                    ),
                    ::cached_runtime::__rt::in_file(
                        ::cached_runtime::__rt::key(
                            ::cached_runtime::__rt::Ref::new(&lang).__view(),
                        ),
                    ),
                ),
            )
            .handle(())
    }
    /// Forgets one key; returns whether a fresh value was there.
    pub fn invalidate(year: u32, lang: &str) -> bool {
        Self::__entry(year, lang).__ask(::cached_runtime::__rt::Invalidate)
    }
    /// What is cached and fresh, without computing, counting or refreshing.
    pub fn peek(year: u32, lang: &str) -> ::core::option::Option<Result<Report, Error>> {
        Self::__entry(year, lang).__ask(::cached_runtime::__rt::Peek)
    }
    /// Stores a value as if the body had returned it.
    pub fn put(year: u32, lang: &str, value: Result<Report, Error>) {
        Self::__entry(year, lang).__ask(::cached_runtime::__rt::Put(value))
    }
    /// Computes and stores anew.
    pub fn refresh(year: u32, lang: &str) -> Result<Report, Error> {
        Self::__function().refresh(move || report(year, lang))
    }
    /// Just the body.
    pub fn uncached(year: u32, lang: &str) -> Result<Report, Error> {
        Self::__function().uncached(move || report(year, lang))
    }
    /// Forgets all keys.
    pub fn clear() {
        Self::__function().clear()
    }
    /// What happened so far.
    pub fn stats() -> ::cached_runtime::Stats {
        Self::__function().stats()
    }
}
