fn item(id: u64) -> Item {
    let step = prelude::cache::__rt::begin(
        item::__function(),
        prelude::cache::__rt::value(
            prelude::cache::__rt::Ret::<fn() -> Item>::NEW.__outcome(),
        ),
        ::core::marker::PhantomData::<()>,
        (prelude::cache::__rt::key(prelude::cache::__rt::Val::new(&id).__view()),),
    );
    match step {
        prelude::cache::__rt::Step::Return(value) => value,
        prelude::cache::__rt::Step::Run(call) => call.run(move || -> Item { load(id) }),
    }
}
///Controls what [`item()`](item()) has cached.
#[allow(warnings, nonstandard_style, clippy::all, clippy::pedantic, clippy::nursery)]
struct item {}
#[allow(warnings, nonstandard_style, clippy::all, clippy::pedantic, clippy::nursery)]
impl item {
    #[doc(hidden)]
    fn __function() -> &'static prelude::cache::__rt::Function {
        static __FUNCTION: prelude::cache::__rt::Function = prelude::cache::__rt::Function::new(
            ::core::concat!(::core::module_path!(), "::item"),
            prelude::cache::__rt::Policy::new(),
        );
        &__FUNCTION
    }
    #[doc(hidden)]
    fn __entry(
        id: u64,
    ) -> prelude::cache::Handle<
        impl prelude::cache::__rt::EntryOf<fn() -> Item> + use<>,
        (),
    > {
        Self::__function()
            .entry(
                prelude::cache::__rt::value(
                    prelude::cache::__rt::Ret::<fn() -> Item>::NEW.__outcome(),
                ),
                ::core::marker::PhantomData::<()>,
                (
                    prelude::cache::__rt::key(
                        prelude::cache::__rt::Val::new(&id).__view(),
                    ),
                ),
            )
            .handle(())
    }
    /// Forgets one key; returns whether a fresh value was there.
    fn invalidate(id: u64) -> bool {
        Self::__entry(id).__ask(prelude::cache::__rt::Invalidate)
    }
    /// What is cached and fresh, without computing, counting or refreshing.
    fn peek(id: u64) -> ::core::option::Option<Item> {
        Self::__entry(id).__ask(prelude::cache::__rt::Peek)
    }
    /// Stores a value as if the body had returned it.
    fn put(id: u64, value: Item) {
        Self::__entry(id).__ask(prelude::cache::__rt::Put(value))
    }
    /// Computes and stores anew.
    fn refresh(id: u64) -> Item {
        Self::__function().refresh(move || item(id))
    }
    /// Just the body.
    fn uncached(id: u64) -> Item {
        Self::__function().uncached(move || item(id))
    }
    /// The values of many keys, in their order. What is missing is loaded by one call of `load`, which returns
    /// what knows the value of each key that it was given.
    fn get_many<'__key, __Answer: ::core::ops::FnMut(&u64) -> Item>(
        keys: ::std::vec::Vec<u64>,
        load: impl ::core::ops::FnMut(&[u64]) -> __Answer,
    ) -> ::std::vec::Vec<Item> {
        prelude::cache::__rt::get_many(
            keys,
            |id| (
                prelude::cache::__rt::begin(
                    Self::__function(),
                    prelude::cache::__rt::value(
                        prelude::cache::__rt::Ret::<fn() -> Item>::NEW.__outcome(),
                    ),
                    ::core::marker::PhantomData::<()>,
                    (
                        prelude::cache::__rt::key(
                            prelude::cache::__rt::Val::new(&id).__view(),
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
    fn stats() -> prelude::cache::Stats {
        Self::__function().stats()
    }
}
