async fn page(slug: &str) -> Result<Page, Error> {
    let step = ::cached_runtime::__rt::begin(
        page::__function(),
        ::cached_runtime::__rt::value(
            ::cached_runtime::__rt::Ret::<fn() -> Result<Page, Error>>::NEW.__outcome(),
        ),
        ::core::marker::PhantomData::<()>,
        (::cached_runtime::__rt::key(::cached_runtime::__rt::Ref::new(&slug).__view()),),
    );
    match step {
        ::cached_runtime::__rt::Step::Return(value) => value,
        ::cached_runtime::__rt::Step::Run(call) => {
            call.run_async(async move || -> Result<Page, Error> {
                    let row = fetch(slug).await?;
                    Ok(render(row))
                })
                .await
        }
    }
}
///Controls what [`page()`](page()) has cached.
#[allow(warnings, nonstandard_style, clippy::all, clippy::pedantic, clippy::nursery)]
struct page {}
#[allow(warnings, nonstandard_style, clippy::all, clippy::pedantic, clippy::nursery)]
impl page {
    #[doc(hidden)]
    fn __function() -> &'static ::cached_runtime::__rt::Function {
        static __FUNCTION: ::cached_runtime::__rt::Function = ::cached_runtime::__rt::Function::new(
            ::core::concat!(::core::module_path!(), "::page"),
            ::cached_runtime::__rt::Policy::new()
                .timeout(::core::time::Duration::new(300u64, 0u32)),
        );
        &__FUNCTION
    }
    #[doc(hidden)]
    fn __entry(
        slug: &str,
    ) -> ::cached_runtime::AsyncHandle<
        impl ::cached_runtime::__rt::EntryOf<fn() -> Result<Page, Error>> + use<>,
        (),
    > {
        Self::__function()
            .entry(
                ::cached_runtime::__rt::value(
                    ::cached_runtime::__rt::Ret::<fn() -> Result<Page, Error>>::NEW
                        .__outcome(),
                ),
                ::core::marker::PhantomData::<()>,
                (
                    ::cached_runtime::__rt::key(
                        ::cached_runtime::__rt::Ref::new(&slug).__view(),
                    ),
                ),
            )
            .handle_async(())
    }
    /// Forgets one key; returns whether a fresh value was there.
    async fn invalidate(slug: &str) -> bool {
        Self::__entry(slug).__ask(::cached_runtime::__rt::Invalidate)
    }
    /// What is cached and fresh, without computing, counting or refreshing.
    async fn peek(slug: &str) -> ::core::option::Option<Result<Page, Error>> {
        Self::__entry(slug).__ask(::cached_runtime::__rt::Peek)
    }
    /// Stores a value as if the body had returned it.
    async fn put(slug: &str, value: Result<Page, Error>) {
        Self::__entry(slug).__ask(::cached_runtime::__rt::Put(value))
    }
    /// Computes and stores anew.
    async fn refresh(slug: &str) -> Result<Page, Error> {
        Self::__function().refresh_async(page(slug)).await
    }
    /// Just the body.
    async fn uncached(slug: &str) -> Result<Page, Error> {
        Self::__function().uncached_async(page(slug)).await
    }
    /// The values of many keys, in their order. What is missing is loaded by one call of `load`, which returns
    /// what knows the value of each key that it was given.
    async fn get_many<
        '__key,
        __Answer: ::core::ops::FnMut(&&'__key str) -> Result<Page, Error>,
        __Loading: ::core::future::Future<Output = __Answer>,
    >(
        keys: ::std::vec::Vec<&'__key str>,
        load: impl ::core::ops::FnMut(::std::sync::Arc<[&'__key str]>) -> __Loading,
    ) -> ::std::vec::Vec<Result<Page, Error>> {
        ::cached_runtime::__rt::get_many_async(
                keys,
                |slug| (
                    ::cached_runtime::__rt::begin(
                        Self::__function(),
                        ::cached_runtime::__rt::value(
                            ::cached_runtime::__rt::Ret::<
                                fn() -> Result<Page, Error>,
                            >::NEW
                                .__outcome(),
                        ),
                        ::core::marker::PhantomData::<()>,
                        (
                            ::cached_runtime::__rt::key(
                                ::cached_runtime::__rt::Ref::new(&slug).__view(),
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
    async fn clear() {
        Self::__function().clear_async().await
    }
    /// What happened so far.
    async fn stats() -> ::cached_runtime::Stats {
        Self::__function().stats_async().await
    }
}
