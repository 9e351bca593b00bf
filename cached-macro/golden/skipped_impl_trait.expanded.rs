fn load(db: &impl Db, id: u64) -> Row {
    let step = ::cached_runtime::__rt::begin(
        load::__function(),
        ::cached_runtime::__rt::value(
            ::cached_runtime::__rt::Ret::<fn() -> Row>::NEW.__outcome(),
        ),
        ::cached_runtime::__rt::both(
            ::core::marker::PhantomData::<()>,
            ::cached_runtime::__rt::type_of(&db),
        ),
        (::cached_runtime::__rt::key(::cached_runtime::__rt::Val::new(&id).__view()),),
    );
    match step {
        ::cached_runtime::__rt::Step::Return(value) => value,
        ::cached_runtime::__rt::Step::Run(call) => {
            call.run(move || -> Row { db.query(id) })
        }
    }
}
///Controls what [`load()`](load()) has cached.
#[allow(warnings, nonstandard_style, clippy::all, clippy::pedantic, clippy::nursery)]
struct load {}
#[allow(warnings, nonstandard_style, clippy::all, clippy::pedantic, clippy::nursery)]
impl load {
    #[doc(hidden)]
    fn __function() -> &'static ::cached_runtime::__rt::Function {
        static __FUNCTION: ::cached_runtime::__rt::Function = ::cached_runtime::__rt::Function::new(
            ::core::concat!(::core::module_path!(), "::load"),
            ::cached_runtime::__rt::Policy::new(),
        );
        &__FUNCTION
    }
    #[doc(hidden)]
    fn __entry<Impl0: Db>(
        id: u64,
    ) -> ::cached_runtime::Handle<
        impl ::cached_runtime::__rt::EntryOf<fn() -> Row> + use<Impl0>,
        (),
    > {
        Self::__function()
            .entry(
                ::cached_runtime::__rt::value(
                    ::cached_runtime::__rt::Ret::<fn() -> Row>::NEW.__outcome(),
                ),
                ::cached_runtime::__rt::both(
                    ::core::marker::PhantomData::<()>,
                    ::core::marker::PhantomData::<&Impl0>,
                ),
                (
                    ::cached_runtime::__rt::key(
                        ::cached_runtime::__rt::Val::new(&id).__view(),
                    ),
                ),
            )
            .handle(())
    }
    /// Forgets one key; returns whether a fresh value was there.
    fn invalidate<Impl0: Db>(id: u64) -> bool {
        Self::__entry::<Impl0>(id).__ask(::cached_runtime::__rt::Invalidate)
    }
    /// What is cached and fresh, without computing, counting or refreshing.
    fn peek<Impl0: Db>(id: u64) -> ::core::option::Option<Row> {
        Self::__entry::<Impl0>(id).__ask(::cached_runtime::__rt::Peek)
    }
    /// Stores a value as if the body had returned it.
    fn put<Impl0: Db>(id: u64, value: Row) {
        Self::__entry::<Impl0>(id).__ask(::cached_runtime::__rt::Put(value))
    }
    /// Computes and stores anew.
    fn refresh(db: &impl Db, id: u64) -> Row {
        Self::__function().refresh(move || load(db, id))
    }
    /// Just the body.
    fn uncached(db: &impl Db, id: u64) -> Row {
        Self::__function().uncached(move || load(db, id))
    }
    /// The values of many keys, in their order. What is missing is loaded by one call of `load`, which returns
    /// what knows the value of each key that it was given.
    fn get_many<'__key, Impl0: Db, __Answer: ::core::ops::FnMut(&u64) -> Row>(
        keys: ::std::vec::Vec<u64>,
        load: impl ::core::ops::FnMut(&[u64]) -> __Answer,
    ) -> ::std::vec::Vec<Row>
    where
        Row: '__key,
    {
        ::cached_runtime::__rt::get_many(
            keys,
            |id| (
                ::cached_runtime::__rt::begin(
                    Self::__function(),
                    ::cached_runtime::__rt::value(
                        ::cached_runtime::__rt::Ret::<fn() -> Row>::NEW.__outcome(),
                    ),
                    ::cached_runtime::__rt::both(
                        ::core::marker::PhantomData::<()>,
                        ::core::marker::PhantomData::<&Impl0>,
                    ),
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
