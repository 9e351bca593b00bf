pub fn item(id: u64, lang: &str, db: Option<&Db>) -> Result<Item, Error> {
    let step = ::cached_runtime::__rt::begin(
        item::__function(),
        ::cached_runtime::__rt::value(
            ::cached_runtime::__rt::Ret::<fn() -> Result<Item, Error>>::NEW.__outcome(),
        ),
        ::core::marker::PhantomData::<()>,
        (
            ::cached_runtime::__rt::key(::cached_runtime::__rt::Val::new(&id).__view()),
            ::cached_runtime::__rt::key(::cached_runtime::__rt::Ref::new(&lang).__view()),
        ),
    );
    match step {
        ::cached_runtime::__rt::Step::Return(value) => value,
        ::cached_runtime::__rt::Step::Run(call) => {
            call.background(|| {
                    let mut copy0 = ::cached_runtime::__rt::own::value(&id);
                    let mut copy1 = ::cached_runtime::__rt::own::reference(&lang);
                    let mut copy2 = ::cached_runtime::__rt::own::optional(&db);
                    move || {
                        let value = item::__recompute(
                            copy0.lend().pass(),
                            copy1.lend().pass(),
                            copy2.lend().pass(),
                        );
                        value
                    }
                })
                .run(move || -> Result<Item, Error> { load(id, lang) })
        }
    }
}
///Controls what [`item()`](item()) has cached.
#[allow(warnings, nonstandard_style, clippy::all, clippy::pedantic, clippy::nursery)]
pub struct item {}
#[allow(warnings, nonstandard_style, clippy::all, clippy::pedantic, clippy::nursery)]
impl item {
    #[doc(hidden)]
    pub fn __function() -> &'static ::cached_runtime::__rt::Function {
        static __FUNCTION: ::cached_runtime::__rt::Function = ::cached_runtime::__rt::Function::new(
            ::core::concat!(::core::module_path!(), "::item"),
            ::cached_runtime::__rt::Policy::new()
                .timeout(::core::time::Duration::new(300u64, 0u32))
                .stale_while_revalidate(::core::time::Duration::new(60u64, 0u32))
                .stale_if_error(::core::time::Duration::new(3600u64, 0u32))
                .error_backoff(::core::time::Duration::new(5u64, 0u32))
                .max_wait(::core::time::Duration::new(0u64, 50000000u32))
                .refresh_ahead(0.8),
        );
        &__FUNCTION
    }
    fn __recompute(id: u64, lang: &str, db: Option<&Db>) -> Result<Item, Error> {
        item(id, lang, db)
    }
    #[doc(hidden)]
    pub fn __entry(
        id: u64,
        lang: &str,
    ) -> ::cached_runtime::Handle<
        impl ::cached_runtime::__rt::EntryOf<fn() -> Result<Item, Error>> + use<>,
        (),
    > {
        Self::__function()
            .entry(
                ::cached_runtime::__rt::value(
                    ::cached_runtime::__rt::Ret::<fn() -> Result<Item, Error>>::NEW
                        .__outcome(),
                ),
                ::core::marker::PhantomData::<()>,
                (
                    ::cached_runtime::__rt::key(
                        ::cached_runtime::__rt::Val::new(&id).__view(),
                    ),
                    ::cached_runtime::__rt::key(
                        ::cached_runtime::__rt::Ref::new(&lang).__view(),
                    ),
                ),
            )
            .handle(())
    }
    /// Forgets one key; returns whether a fresh value was there.
    pub fn invalidate(id: u64, lang: &str) -> bool {
        Self::__entry(id, lang).__ask(::cached_runtime::__rt::Invalidate)
    }
    /// What is cached and fresh, without computing, counting or refreshing.
    pub fn peek(id: u64, lang: &str) -> ::core::option::Option<Result<Item, Error>> {
        Self::__entry(id, lang).__ask(::cached_runtime::__rt::Peek)
    }
    /// Stores a value as if the body had returned it.
    pub fn put(id: u64, lang: &str, value: Result<Item, Error>) {
        Self::__entry(id, lang).__ask(::cached_runtime::__rt::Put(value))
    }
    /// Computes and stores anew.
    pub fn refresh(id: u64, lang: &str, db: Option<&Db>) -> Result<Item, Error> {
        Self::__function().refresh(move || item(id, lang, db))
    }
    /// Just the body.
    pub fn uncached(id: u64, lang: &str, db: Option<&Db>) -> Result<Item, Error> {
        Self::__function().uncached(move || item(id, lang, db))
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
