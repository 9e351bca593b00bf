pub unsafe fn read(address: usize) -> u8 {
    let step = ::cached_runtime::__rt::begin(
        read::__function(),
        ::cached_runtime::__rt::value(
            ::cached_runtime::__rt::Ret::<fn() -> u8>::NEW.__outcome(),
        ),
        ::core::marker::PhantomData::<()>,
        (
            ::cached_runtime::__rt::key(
                ::cached_runtime::__rt::Val::new(&address).__view(),
            ),
        ),
    );
    match step {
        ::cached_runtime::__rt::Step::Return(value) => value,
        ::cached_runtime::__rt::Step::Run(call) => {
            call.run(move || -> u8 {
                #[allow(unused_unsafe)] unsafe { *(address as *const u8) }
            })
        }
    }
}
///Controls what [`read()`](read()) has cached.
#[allow(warnings, nonstandard_style, clippy::all, clippy::pedantic, clippy::nursery)]
pub struct read {}
#[allow(warnings, nonstandard_style, clippy::all, clippy::pedantic, clippy::nursery)]
impl read {
    #[doc(hidden)]
    pub fn __function() -> &'static ::cached_runtime::__rt::Function {
        static __FUNCTION: ::cached_runtime::__rt::Function = ::cached_runtime::__rt::Function::new(
            ::core::concat!(::core::module_path!(), "::read"),
            ::cached_runtime::__rt::Policy::new(),
        );
        &__FUNCTION
    }
    #[doc(hidden)]
    pub fn __entry(
        address: usize,
    ) -> ::cached_runtime::Handle<
        impl ::cached_runtime::__rt::EntryOf<fn() -> u8> + use<>,
        (),
    > {
        Self::__function()
            .entry(
                ::cached_runtime::__rt::value(
                    ::cached_runtime::__rt::Ret::<fn() -> u8>::NEW.__outcome(),
                ),
                ::core::marker::PhantomData::<()>,
                (
                    ::cached_runtime::__rt::key(
                        ::cached_runtime::__rt::Val::new(&address).__view(),
                    ),
                ),
            )
            .handle(())
    }
    /// Forgets one key; returns whether a fresh value was there.
    pub fn invalidate(address: usize) -> bool {
        Self::__entry(address).__ask(::cached_runtime::__rt::Invalidate)
    }
    /// What is cached and fresh, without computing, counting or refreshing.
    pub fn peek(address: usize) -> ::core::option::Option<u8> {
        Self::__entry(address).__ask(::cached_runtime::__rt::Peek)
    }
    /// Stores a value as if the body had returned it.
    pub fn put(address: usize, value: u8) {
        Self::__entry(address).__ask(::cached_runtime::__rt::Put(value))
    }
    /// Computes and stores anew.
    /**
# Safety

As for the function.*/
    pub unsafe fn refresh(address: usize) -> u8 {
        Self::__function().refresh(move || unsafe { read(address) })
    }
    /// Just the body.
    /**
# Safety

As for the function.*/
    pub unsafe fn uncached(address: usize) -> u8 {
        Self::__function().uncached(move || unsafe { read(address) })
    }
    /// The values of many keys, in their order. What is missing is loaded by one call of `load`, which returns
    /// what knows the value of each key that it was given.
    pub fn get_many<'__key, __Answer: ::core::ops::FnMut(&usize) -> u8>(
        keys: ::std::vec::Vec<usize>,
        load: impl ::core::ops::FnMut(&[usize]) -> __Answer,
    ) -> ::std::vec::Vec<u8> {
        ::cached_runtime::__rt::get_many(
            keys,
            |address| (
                ::cached_runtime::__rt::begin(
                    Self::__function(),
                    ::cached_runtime::__rt::value(
                        ::cached_runtime::__rt::Ret::<fn() -> u8>::NEW.__outcome(),
                    ),
                    ::core::marker::PhantomData::<()>,
                    (
                        ::cached_runtime::__rt::key(
                            ::cached_runtime::__rt::Val::new(&address).__view(),
                        ),
                    ),
                ),
                address,
            ),
            load,
        )
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
