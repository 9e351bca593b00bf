fn area(arg0: (u32, u32), mut scale: u32, arg2: u8) -> u32 {
    let step = ::cached_runtime::__rt::begin(
        area::__function(),
        ::cached_runtime::__rt::value(
            ::cached_runtime::__rt::Ret::<fn() -> u32>::NEW.__outcome(),
        ),
        ::core::marker::PhantomData::<()>,
        (
            ::cached_runtime::__rt::key(
                ::cached_runtime::__rt::Val::new(&arg0.0).__view(),
            ),
            ::cached_runtime::__rt::key(
                ::cached_runtime::__rt::Val::new(&arg0.1).__view(),
            ),
            ::cached_runtime::__rt::key(
                ::cached_runtime::__rt::Val::new(&scale).__view(),
            ),
            ::cached_runtime::__rt::key(::cached_runtime::__rt::Val::new(&arg2).__view()),
        ),
    );
    match step {
        ::cached_runtime::__rt::Step::Return(value) => value,
        ::cached_runtime::__rt::Step::Run(call) => {
            call.run(move || -> u32 {
                let (width, height) = arg0;
                scale += 1;
                width * height * scale
            })
        }
    }
}
///Controls what [`area()`](area()) has cached.
#[allow(warnings, nonstandard_style, clippy::all, clippy::pedantic, clippy::nursery)]
struct area {}
#[allow(warnings, nonstandard_style, clippy::all, clippy::pedantic, clippy::nursery)]
impl area {
    #[doc(hidden)]
    fn __function() -> &'static ::cached_runtime::__rt::Function {
        static __FUNCTION: ::cached_runtime::__rt::Function = ::cached_runtime::__rt::Function::new(
            ::core::concat!(::core::module_path!(), "::area"),
            ::cached_runtime::__rt::Policy::new(),
        );
        &__FUNCTION
    }
    #[doc(hidden)]
    fn __entry(
        arg0: (u32, u32),
        scale: u32,
        arg2: u8,
    ) -> ::cached_runtime::Handle<
        impl ::cached_runtime::__rt::EntryOf<fn() -> u32> + use<>,
        (),
    > {
        Self::__function()
            .entry(
                ::cached_runtime::__rt::value(
                    ::cached_runtime::__rt::Ret::<fn() -> u32>::NEW.__outcome(),
                ),
                ::core::marker::PhantomData::<()>,
                (
                    ::cached_runtime::__rt::key(
                        ::cached_runtime::__rt::Val::new(&arg0.0).__view(),
                    ),
                    ::cached_runtime::__rt::key(
                        ::cached_runtime::__rt::Val::new(&arg0.1).__view(),
                    ),
                    ::cached_runtime::__rt::key(
                        ::cached_runtime::__rt::Val::new(&scale).__view(),
                    ),
                    ::cached_runtime::__rt::key(
                        ::cached_runtime::__rt::Val::new(&arg2).__view(),
                    ),
                ),
            )
            .handle(())
    }
    /// Forgets one key; returns whether a fresh value was there.
    fn invalidate(arg0: (u32, u32), scale: u32, arg2: u8) -> bool {
        Self::__entry(arg0, scale, arg2).__ask(::cached_runtime::__rt::Invalidate)
    }
    /// What is cached and fresh, without computing, counting or refreshing.
    fn peek(arg0: (u32, u32), scale: u32, arg2: u8) -> ::core::option::Option<u32> {
        Self::__entry(arg0, scale, arg2).__ask(::cached_runtime::__rt::Peek)
    }
    /// Stores a value as if the body had returned it.
    fn put(arg0: (u32, u32), scale: u32, arg2: u8, value: u32) {
        Self::__entry(arg0, scale, arg2).__ask(::cached_runtime::__rt::Put(value))
    }
    /// Computes and stores anew.
    fn refresh(arg0: (u32, u32), scale: u32, arg2: u8) -> u32 {
        Self::__function().refresh(move || area(arg0, scale, arg2))
    }
    /// Just the body.
    fn uncached(arg0: (u32, u32), scale: u32, arg2: u8) -> u32 {
        Self::__function().uncached(move || area(arg0, scale, arg2))
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
