fn show<T, const N: usize>(thing: &T) -> String
where
    T: Key + Display,
{
    let step = ::cached_runtime::__rt::begin(
        show::__function(),
        ::cached_runtime::__rt::value(
            ::cached_runtime::__rt::Ret::<fn() -> String>::NEW.__outcome(),
        ),
        ::core::marker::PhantomData::<(::core::marker::PhantomData<T>,)>,
        (
            ::cached_runtime::__rt::key(::cached_runtime::__rt::Arg::new(&N).__view()),
            ::cached_runtime::__rt::key(
                ::cached_runtime::__rt::Arg::new(&thing).__view(),
            ),
        ),
    );
    match step {
        ::cached_runtime::__rt::Step::Return(value) => value,
        ::cached_runtime::__rt::Step::Run(call) => {
            call.run(move || -> String { thing.to_string() })
        }
    }
}
///Controls what [`show()`](show()) has cached.
#[allow(warnings, nonstandard_style, clippy::all, clippy::pedantic, clippy::nursery)]
struct show {}
#[allow(warnings, nonstandard_style, clippy::all, clippy::pedantic, clippy::nursery)]
impl show {
    #[doc(hidden)]
    fn __function() -> &'static ::cached_runtime::__rt::Function {
        static __FUNCTION: ::cached_runtime::__rt::Function = ::cached_runtime::__rt::Function::new(
            ::core::concat!(::core::module_path!(), "::show"),
            ::cached_runtime::__rt::Policy::new(),
        );
        &__FUNCTION
    }
    #[doc(hidden)]
    fn __entry<T, const N: usize>(
        thing: &T,
    ) -> ::cached_runtime::Handle<
        impl ::cached_runtime::__rt::EntryOf<fn() -> String> + use<T, N>,
        (),
    >
    where
        T: Key + Display,
    {
        Self::__function()
            .entry(
                ::cached_runtime::__rt::value(
                    ::cached_runtime::__rt::Ret::<fn() -> String>::NEW.__outcome(),
                ),
                ::core::marker::PhantomData::<(::core::marker::PhantomData<T>,)>,
                (
                    ::cached_runtime::__rt::key(
                        ::cached_runtime::__rt::Arg::new(&N).__view(),
                    ),
                    ::cached_runtime::__rt::key(
                        ::cached_runtime::__rt::Arg::new(&thing).__view(),
                    ),
                ),
            )
            .handle(())
    }
    /// Forgets one key; returns whether a fresh value was there.
    fn invalidate<T, const N: usize>(thing: &T) -> bool
    where
        T: Key + Display,
    {
        Self::__entry::<T, N>(thing).__ask(::cached_runtime::__rt::Invalidate)
    }
    /// What is cached and fresh, without computing, counting or refreshing.
    fn peek<T, const N: usize>(thing: &T) -> ::core::option::Option<String>
    where
        T: Key + Display,
    {
        Self::__entry::<T, N>(thing).__ask(::cached_runtime::__rt::Peek)
    }
    /// Stores a value as if the body had returned it.
    fn put<T, const N: usize>(thing: &T, value: String)
    where
        T: Key + Display,
    {
        Self::__entry::<T, N>(thing).__ask(::cached_runtime::__rt::Put(value))
    }
    /// Computes and stores anew.
    fn refresh<T, const N: usize>(thing: &T) -> String
    where
        T: Key + Display,
    {
        Self::__function().refresh(move || show::<T, N>(thing))
    }
    /// Just the body.
    fn uncached<T, const N: usize>(thing: &T) -> String
    where
        T: Key + Display,
    {
        Self::__function().uncached(move || show::<T, N>(thing))
    }
    /// The values of many keys, in their order. What is missing is loaded by one call of `load`, which returns
    /// what knows the value of each key that it was given.
    fn get_many<
        '__key,
        T,
        const N: usize,
        __Answer: ::core::ops::FnMut(&&'__key T) -> String,
    >(
        keys: ::std::vec::Vec<&'__key T>,
        load: impl ::core::ops::FnMut(&[&'__key T]) -> __Answer,
    ) -> ::std::vec::Vec<String>
    where
        T: Key + Display,
        String: '__key,
    {
        ::cached_runtime::__rt::get_many(
            keys,
            |thing| (
                ::cached_runtime::__rt::begin(
                    Self::__function(),
                    ::cached_runtime::__rt::value(
                        ::cached_runtime::__rt::Ret::<fn() -> String>::NEW.__outcome(),
                    ),
                    ::core::marker::PhantomData::<(::core::marker::PhantomData<T>,)>,
                    (
                        ::cached_runtime::__rt::key(
                            ::cached_runtime::__rt::Arg::new(&N).__view(),
                        ),
                        ::cached_runtime::__rt::key(
                            ::cached_runtime::__rt::Arg::new(&thing).__view(),
                        ),
                    ),
                ),
                thing,
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
