fn user(id: u64) -> User {
    let step = ::cached_runtime::__rt::begin_shared(
        ::cached_runtime::__rt::Lookup::new(),
        user::__function(),
        ::cached_runtime::__rt::coded(
            ::core::marker::PhantomData::<::cached_runtime::__rt::MessagePack>,
            ::cached_runtime::__rt::value(
                ::cached_runtime::__rt::Ret::<fn() -> User>::NEW.__outcome(),
            ),
        ),
        ::core::marker::PhantomData::<()>,
        ::cached_runtime::__rt::tagged(
            (
                ::cached_runtime::__rt::in_backend(
                    ::cached_runtime::__rt::key(
                        ::cached_runtime::__rt::Val::new(&id).__view(),
                    ),
                ),
            ),
            &|| [::std::format!("user:{id}"), ::std::format!("all-users")],
        ),
    );
    match step {
        ::cached_runtime::__rt::SharedStep::Return(value) => value,
        ::cached_runtime::__rt::SharedStep::Run(call) => {
            call.run(move || -> User { load(id) })
        }
    }
}
///Controls what [`user()`](user()) has cached.
#[allow(warnings, nonstandard_style, clippy::all, clippy::pedantic, clippy::nursery)]
struct user {}
#[allow(warnings, nonstandard_style, clippy::all, clippy::pedantic, clippy::nursery)]
impl user {
    #[doc(hidden)]
    fn __function() -> &'static ::cached_runtime::__rt::Function {
        static __SHARED: ::cached_runtime::__rt::Shared = ::cached_runtime::__rt::Shared::new(
                &USERS,
            )
            .place(|| ::core::any::type_name_of_val(&|| {}), 613992718528053441u64)
            .tagged();
        static __FUNCTION: ::cached_runtime::__rt::Function = ::cached_runtime::__rt::Function::new(
                ::core::concat!(::core::module_path!(), "::user"),
                ::cached_runtime::__rt::Policy::new(),
            )
            .shared(&__SHARED);
        &__FUNCTION
    }
    #[doc(hidden)]
    fn __entry(
        id: u64,
    ) -> ::cached_runtime::Handle<
        impl ::cached_runtime::__rt::EntryOf<fn() -> User> + use<>,
        (),
    > {
        Self::__function()
            .entry_shared(
                ::cached_runtime::__rt::coded(
                    ::core::marker::PhantomData::<::cached_runtime::__rt::MessagePack>,
                    ::cached_runtime::__rt::value(
                        ::cached_runtime::__rt::Ret::<fn() -> User>::NEW.__outcome(),
                    ),
                ),
                ::core::marker::PhantomData::<()>,
                ::cached_runtime::__rt::tagged(
                    (
                        ::cached_runtime::__rt::in_backend(
                            ::cached_runtime::__rt::key(
                                ::cached_runtime::__rt::Val::new(&id).__view(),
                            ),
                        ),
                    ),
                    &|| [::std::format!("user:{id}"), ::std::format!("all-users")],
                ),
            )
            .handle(())
    }
    /// Forgets one key; returns whether a fresh value was there.
    fn invalidate(id: u64) -> bool {
        Self::__entry(id).__ask(::cached_runtime::__rt::Invalidate)
    }
    /// What is cached and fresh, without computing, counting or refreshing.
    fn peek(id: u64) -> ::core::option::Option<User> {
        Self::__entry(id).__ask(::cached_runtime::__rt::Peek)
    }
    /// Stores a value as if the body had returned it.
    fn put(id: u64, value: User) {
        Self::__entry(id).__ask(::cached_runtime::__rt::Put(value))
    }
    /// Computes and stores anew.
    fn refresh(id: u64) -> User {
        Self::__function().refresh(move || user(id))
    }
    /// Just the body.
    fn uncached(id: u64) -> User {
        Self::__function().uncached(move || user(id))
    }
    /// The values of many keys, in their order. What is missing is loaded by one call of `load`, which returns
    /// what knows the value of each key that it was given.
    fn get_many<'__key, __Answer: ::core::ops::FnMut(&u64) -> User>(
        keys: ::std::vec::Vec<u64>,
        load: impl ::core::ops::FnMut(&[u64]) -> __Answer,
    ) -> ::std::vec::Vec<User> {
        ::cached_runtime::__rt::get_many_shared(
            keys,
            |id| (
                ::cached_runtime::__rt::begin_shared(
                    ::cached_runtime::__rt::Lookup::new(),
                    Self::__function(),
                    ::cached_runtime::__rt::coded(
                        ::core::marker::PhantomData::<
                            ::cached_runtime::__rt::MessagePack,
                        >,
                        ::cached_runtime::__rt::value(
                            ::cached_runtime::__rt::Ret::<fn() -> User>::NEW.__outcome(),
                        ),
                    ),
                    ::core::marker::PhantomData::<()>,
                    ::cached_runtime::__rt::tagged(
                        (
                            ::cached_runtime::__rt::in_backend(
                                ::cached_runtime::__rt::key(
                                    ::cached_runtime::__rt::Val::new(&id).__view(),
                                ),
                            ),
                        ),
                        &|| [::std::format!("user:{id}"), ::std::format!("all-users")],
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
