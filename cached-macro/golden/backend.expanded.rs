pub async fn page(slug: &str) -> Result<Page, Error> {
    let step = ::cached_runtime::__rt::begin_shared(
        ::cached_runtime::__rt::Lookup::new(),
        page::__function(),
        ::cached_runtime::__rt::coded(
            ::core::marker::PhantomData::<::cached_runtime::__rt::Json>,
            ::cached_runtime::__rt::value(
                ::cached_runtime::__rt::Ret::<fn() -> Result<Page, Error>>::NEW
                    .__outcome(),
            ),
        ),
        ::core::marker::PhantomData::<()>,
        (
            ::cached_runtime::__rt::in_backend(
                ::cached_runtime::__rt::key(
                    ::cached_runtime::__rt::Ref::new(&slug).__view(),
                ),
            ),
        ),
    );
    match step {
        ::cached_runtime::__rt::SharedStep::Return(value) => value,
        ::cached_runtime::__rt::SharedStep::Run(call) => {
            call.run_async(async move || -> Result<Page, Error> { render(slug).await })
                .await
        }
    }
}
///Controls what [`page()`](page()) has cached.
#[allow(warnings, nonstandard_style, clippy::all, clippy::pedantic, clippy::nursery)]
pub struct page {}
#[allow(warnings, nonstandard_style, clippy::all, clippy::pedantic, clippy::nursery)]
impl page {
    #[doc(hidden)]
    pub fn __function() -> &'static ::cached_runtime::__rt::Function {
        static __SHARED: ::cached_runtime::__rt::Shared = ::cached_runtime::__rt::Shared::new(
                &PAGES,
            )
            .place(|| ::core::any::type_name_of_val(&|| {}), 8557812103823008790u64)
            .version(2)
            .lease(::core::time::Duration::new(10u64, 0u32))
            .local_timeout(::core::time::Duration::new(5u64, 0u32));
        static __FUNCTION: ::cached_runtime::__rt::Function = ::cached_runtime::__rt::Function::new(
                ::core::concat!(::core::module_path!(), "::page"),
                ::cached_runtime::__rt::Policy::new()
                    .timeout(::core::time::Duration::new(300u64, 0u32)),
            )
            .shared(&__SHARED);
        &__FUNCTION
    }
    #[doc(hidden)]
    pub fn __entry(
        slug: &str,
    ) -> ::cached_runtime::AsyncHandle<
        impl ::cached_runtime::__rt::EntryOf<fn() -> Result<Page, Error>> + use<>,
        (),
    > {
        Self::__function()
            .entry_shared(
                ::cached_runtime::__rt::coded(
                    ::core::marker::PhantomData::<::cached_runtime::__rt::Json>,
                    ::cached_runtime::__rt::value(
                        ::cached_runtime::__rt::Ret::<fn() -> Result<Page, Error>>::NEW
                            .__outcome(),
                    ),
                ),
                ::core::marker::PhantomData::<()>,
                (
                    ::cached_runtime::__rt::in_backend(
                        ::cached_runtime::__rt::key(
                            ::cached_runtime::__rt::Ref::new(&slug).__view(),
                        ),
                    ),
                ),
            )
            .handle_async(())
    }
    /// Forgets one key; returns whether a fresh value was there.
    pub async fn invalidate(slug: &str) -> bool {
        Self::__entry(slug).__ask_async(::cached_runtime::__rt::Invalidate).await
    }
    /// What is cached and fresh, without computing, counting or refreshing.
    pub async fn peek(slug: &str) -> ::core::option::Option<Result<Page, Error>> {
        Self::__entry(slug).__ask_async(::cached_runtime::__rt::Peek).await
    }
    /// Stores a value as if the body had returned it.
    pub async fn put(slug: &str, value: Result<Page, Error>) {
        Self::__entry(slug).__ask_async(::cached_runtime::__rt::Put(value)).await
    }
    /// Computes and stores anew.
    pub async fn refresh(slug: &str) -> Result<Page, Error> {
        Self::__function().refresh_async(page(slug)).await
    }
    /// Just the body.
    pub async fn uncached(slug: &str) -> Result<Page, Error> {
        Self::__function().uncached_async(page(slug)).await
    }
    /// The values of many keys, in their order. What is missing is loaded by one call of `load`, which returns
    /// what knows the value of each key that it was given.
    pub async fn get_many<
        '__key,
        __Answer: ::core::ops::FnMut(&&'__key str) -> Result<Page, Error>,
        __Loading: ::core::future::Future<Output = __Answer>,
    >(
        keys: ::std::vec::Vec<&'__key str>,
        load: impl ::core::ops::FnMut(::std::sync::Arc<[&'__key str]>) -> __Loading,
    ) -> ::std::vec::Vec<Result<Page, Error>> {
        ::cached_runtime::__rt::get_many_shared_async(
                keys,
                |slug| (
                    ::cached_runtime::__rt::begin_shared(
                        ::cached_runtime::__rt::Lookup::new(),
                        Self::__function(),
                        ::cached_runtime::__rt::coded(
                            ::core::marker::PhantomData::<::cached_runtime::__rt::Json>,
                            ::cached_runtime::__rt::value(
                                ::cached_runtime::__rt::Ret::<
                                    fn() -> Result<Page, Error>,
                                >::NEW
                                    .__outcome(),
                            ),
                        ),
                        ::core::marker::PhantomData::<()>,
                        (
                            ::cached_runtime::__rt::in_backend(
                                ::cached_runtime::__rt::key(
                                    ::cached_runtime::__rt::Ref::new(&slug).__view(),
                                ),
                            ),
                        ),
                    ),
                    slug,
                ),
                load,
            )
            .await
    }
    /// Forgets all keys.
    pub async fn clear() {
        Self::__function().clear_async().await
    }
    /// What happened so far.
    pub async fn stats() -> ::cached_runtime::Stats {
        Self::__function().stats_async().await
    }
}
