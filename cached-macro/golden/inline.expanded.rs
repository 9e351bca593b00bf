fn item(id: u64, db: &mut Db) -> Item {
    let step = ::cached_runtime::__rt::begin(
        item::__function(),
        ::cached_runtime::__rt::value(
            ::cached_runtime::__rt::Ret::<fn() -> Item>::NEW.__outcome(),
        ),
        ::core::marker::PhantomData::<()>,
        (::cached_runtime::__rt::key(::cached_runtime::__rt::Val::new(&id).__view()),),
    );
    match step {
        ::cached_runtime::__rt::Step::Return(value) => value,
        ::cached_runtime::__rt::Step::Run(call) => {
            call.inline().run(move || -> Item { db.load(id) })
        }
    }
}
///Controls what [`item()`](item()) has cached.
#[allow(warnings, nonstandard_style, clippy::all, clippy::pedantic, clippy::nursery)]
struct item {}
#[allow(warnings, nonstandard_style, clippy::all, clippy::pedantic, clippy::nursery)]
impl item {
    #[doc(hidden)]
    fn __function() -> &'static ::cached_runtime::__rt::Function {
        static __FUNCTION: ::cached_runtime::__rt::Function = ::cached_runtime::__rt::Function::new(
            ::core::concat!(::core::module_path!(), "::item"),
            ::cached_runtime::__rt::Policy::new()
                .timeout(::core::time::Duration::new(60u64, 0u32))
                .stale_while_revalidate(::core::time::Duration::new(60u64, 0u32)),
        );
        &__FUNCTION
    }
    #[doc(hidden)]
    fn __entry(
        id: u64,
    ) -> ::cached_runtime::Handle<
        impl ::cached_runtime::__rt::EntryOf<fn() -> Item> + use<>,
        (),
    > {
        Self::__function()
            .entry(
                ::cached_runtime::__rt::value(
                    ::cached_runtime::__rt::Ret::<fn() -> Item>::NEW.__outcome(),
                ),
                ::core::marker::PhantomData::<()>,
                (
                    ::cached_runtime::__rt::key(
                        ::cached_runtime::__rt::Val::new(&id).__view(),
                    ),
                ),
            )
            .handle(())
    }
    /// Forgets one key; returns whether a fresh value was there.
    fn invalidate(id: u64) -> bool {
        Self::__entry(id).__ask(::cached_runtime::__rt::Invalidate)
    }
    /// What is cached and fresh, without computing, counting or refreshing.
    fn peek(id: u64) -> ::core::option::Option<Item> {
        Self::__entry(id).__ask(::cached_runtime::__rt::Peek)
    }
    /// Stores a value as if the body had returned it.
    fn put(id: u64, value: Item) {
        Self::__entry(id).__ask(::cached_runtime::__rt::Put(value))
    }
    /// Computes and stores anew.
    fn refresh(id: u64, db: &mut Db) -> Item {
        Self::__function().refresh(move || item(id, db))
    }
    /// Just the body.
    fn uncached(id: u64, db: &mut Db) -> Item {
        Self::__function().uncached(move || item(id, db))
    }
    /// The values of many keys, in their order. What is missing is loaded by one call of `load`, which returns
    /// what knows the value of each key that it was given.
    fn get_many<'__key, __Answer: ::core::ops::FnMut(&u64) -> Item>(
        keys: ::std::vec::Vec<u64>,
        load: impl ::core::ops::FnMut(&[u64]) -> __Answer,
    ) -> ::std::vec::Vec<Item> {
        ::cached_runtime::__rt::get_many(
            keys,
            |id| (
                ::cached_runtime::__rt::begin(
                    Self::__function(),
                    ::cached_runtime::__rt::value(
                        ::cached_runtime::__rt::Ret::<fn() -> Item>::NEW.__outcome(),
                    ),
                    ::core::marker::PhantomData::<()>,
                    (
                        ::cached_runtime::__rt::key(
                            ::cached_runtime::__rt::Val::new(&id).__view(),
                        ),
                    ),
                ),
                id,
            ),
            load,
        )
    }
    /// Forgets all keys.
    fn clear() {
        Self::__function().clear()
    }
    /// What happened so far.
    fn stats() -> ::cached_runtime::Stats {
        Self::__function().stats()
    }
}
