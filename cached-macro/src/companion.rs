//! What is emitted beside a function: the companion of a free function, the handle of a method.

use proc_macro2::{Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::{Attribute, GenericParam, Generics, Lifetime, Type, parse_quote};

use crate::expand::{of_its_own, outcome, step, type_identity, with_patterns_by_reference};
use crate::plan::{Companion, Plan};
use crate::signature::{Argument, mentions};

/// Lints that concern how the user writes, not what is emitted here.
fn quiet(plan: &Plan) -> TokenStream {
    let deprecated = plan.is_deprecated().then(|| quote!(deprecated,));
    quote!(#[allow(warnings, nonstandard_style, #deprecated clippy::all, clippy::pedantic, clippy::nursery)])
}

// Input: `fn item(id: u64) -> R`. Output:
//
//     struct item {}
//     impl item {
//         fn __function() -> &'static Function { STATIC }
//         fn __entry(id: u64) -> Handle<impl EntryOf<fn() -> R> + use<>, ()> { ENTRY.handle(()) }
//         fn invalidate(id: u64) -> bool { Self::__entry(id).__ask(Invalidate) }
//         …
//     }
pub(crate) fn of_function(plan: &Plan, name: &Ident) -> TokenStream {
    let (private, krate) = (plan.private(), &plan.krate);
    let (visibility, quiet) = (&plan.function.visibility, quiet(plan));
    let attributes: Vec<_> = plan.function.attributes.iter().filter(|it| concerns_companion(it)).collect();
    let summary = format!("Controls what [`{0}()`]({0}()) has cached.", plan.function.signature.ident);
    let of_its_own = of_its_own(plan);
    let (methods, many) = (methods(plan), many(plan));
    let recompute = plan.background.is_some().then(|| recompute_of_function(plan));
    let (asyncness, suffix, wait) = twins(plan);
    let (clear, stats) = (format_ident!("clear{suffix}"), format_ident!("stats{suffix}"));
    quote! {
        #(#attributes)*
        #[doc = #summary]
        #quiet
        #visibility struct #name {}

        #(#attributes)*
        #quiet
        impl #name {
            #[doc(hidden)]
            #visibility fn __function() -> &'static #private::Function #of_its_own

            #recompute

            #methods

            #many

            /// Forgets all keys.
            #visibility #asyncness fn clear() {
                Self::__function().#clear()#wait
            }

            /// What happened so far.
            #visibility #asyncness fn stats() -> #krate::Stats {
                Self::__function().#stats()#wait
            }
        }
    }
}

/// The methods that take arguments.
fn methods(plan: &Plan) -> TokenStream {
    let (private, function) = (plan.private(), &plan.function);
    let (visibility, returned) = (&function.visibility, function.returned());
    let (asyncness, suffix, wait) = twins(plan);
    let keyed = Keyed::new(plan);
    let Keyed { parameters, bindings, generics, explicit } = &keyed;
    let (parameter_list, _, bounds) = generics.split_for_impl();
    let value = Ident::new("value", Span::mixed_site());
    let (handle, into_handle) = handle(plan);
    let (ask, waits) = if plan.shared.is_some() && function.is_async() {
        (quote!(__ask_async), &wait)
    } else {
        (quote!(__ask), &None)
    };
    // So that nothing of the arguments is borrowed; but an `impl Trait` has no name, and must not be left out.
    let has_unnamed = parameters.iter().any(|it| mentions(it.1.to_token_stream(), "impl"));
    let captured = (!has_unnamed).then(|| quote!(+ use<#(#explicit),*>));
    let turbofish = keyed.turbofish();
    let (entry_of, entry) = (quote!(Self::__entry #turbofish(#(#bindings),*).#ask), entry(plan));

    let all = Keyed::all(plan).renamed();
    let Keyed { parameters: all_parameters, bindings: all_bindings, generics: all_generics, .. } = &all;
    let all_turbofish = all.turbofish();
    let (all_parameter_list, _, all_bounds) = all_generics.split_for_impl();
    let name = &function.signature.ident;
    let call = quote!(#name #all_turbofish (#(#all_bindings),*));
    let (unsafety, call, safety) = if function.is_unsafe() {
        (
            quote!(unsafe),
            quote!(unsafe { #call }),
            quote!(#[doc = "
# Safety

As for the function."]),
        )
    } else {
        (quote!(), call, quote!())
    };
    let call = if function.is_async() { call } else { quote!(move || #call) };
    let (refresh, uncached) = (format_ident!("refresh{suffix}"), format_ident!("uncached{suffix}"));
    quote! {
        #[doc(hidden)]
        #visibility fn __entry #parameter_list(#(#parameters),*)
            -> #handle<impl #private::EntryOf<fn() -> #returned> #captured, ()> #bounds
        {
            #entry.#into_handle(())
        }

        /// Forgets one key; returns whether a fresh value was there.
        #visibility #asyncness fn invalidate #parameter_list(#(#parameters),*) -> bool #bounds {
            #entry_of(#private::Invalidate)#waits
        }

        /// What is cached and fresh, without computing, counting or refreshing.
        #visibility #asyncness fn peek #parameter_list(#(#parameters),*) -> ::core::option::Option<#returned> #bounds {
            #entry_of(#private::Peek)#waits
        }

        /// Stores a value as if the body had returned it.
        #visibility #asyncness fn put #parameter_list(#(#parameters,)* #value: #returned) #bounds {
            #entry_of(#private::Put(#value))#waits
        }

        /// Computes and stores anew.
        #safety
        #visibility #asyncness #unsafety fn refresh #all_parameter_list(#(#all_parameters),*) -> #returned #all_bounds {
            Self::__function().#refresh(#call)#wait
        }

        /// Just the body.
        #safety
        #visibility #asyncness #unsafety fn uncached #all_parameter_list(#(#all_parameters),*) -> #returned #all_bounds {
            Self::__function().#uncached(#call)#wait
        }
    }
}

/// The call for many keys, of a function whose key is one argument. That is lent to what makes the key, and so need
/// not be `Clone`.
fn many(plan: &Plan) -> Option<TokenStream> {
    let keyed = Keyed::new(plan);
    let [Parameter(binding, ty)] = &*keyed.parameters else { return None };
    // An `impl Trait` has no name to be spelled again, and within the others lifetimes are not the key's.
    let has = |word| mentions(ty.to_token_stream(), word);
    if ["impl", "dyn", "fn"].into_iter().any(has) {
        return None;
    }
    let (private, visibility, returned) =
        (plan.private(), &plan.function.visibility, plan.function.returned());
    let (asyncness, suffix, wait) = twins(plan);
    let [answer, loading, keys, load, call] =
        ["__Answer", "__Loading", "keys", "load", "call"].map(|name| Ident::new(name, Span::mixed_site()));
    let lifetime = Lifetime::new("'__key", Span::mixed_site());
    let ty = with_lifetime(ty.to_token_stream(), &lifetime);
    let mut generics = keyed.generics.clone();
    generics.params.insert(0, parse_quote!(#lifetime));
    if generics.type_params().next().is_some() {
        // Values live longer in any case; so a message about one that does not is not repeated for this function.
        generics.make_where_clause().predicates.push(parse_quote!(#returned: #lifetime));
    }
    generics.params.push(parse_quote!(#answer: ::core::ops::FnMut(&#ty) -> #returned));
    let loader = if plan.function.is_async() {
        generics.params.push(parse_quote!(#loading: ::core::future::Future<Output = #answer>));
        quote!(::core::ops::FnMut(::std::sync::Arc<[#ty]>) -> #loading)
    } else {
        quote!(::core::ops::FnMut(&[#ty]) -> #answer)
    };
    let (parameter_list, _, bounds) = generics.split_for_impl();
    let shared = if plan.shared.is_some() { "_shared" } else { "" };
    let (get_many, rules) = (format_ident!("get_many{shared}{suffix}"), &plan.rules);
    let identity = type_identity(plan, |argument| !plan.is_skipped(argument));
    let step = step(plan, &quote!(Self::__function()), &identity, None);
    let rules = (!rules.is_empty()).then(|| {
        let with_rules = with_patterns_by_reference(plan, quote!(#call #rules));
        quote!(.with(|#call| #with_rules))
    });
    Some(quote! {
        /// The values of many keys, in their order. What is missing is loaded by one call of `load`, which returns
        /// what knows the value of each key that it was given.
        #visibility #asyncness fn get_many #parameter_list(
            #keys: ::std::vec::Vec<#ty>,
            #load: impl #loader,
        ) -> ::std::vec::Vec<#returned> #bounds {
            #private::#get_many(#keys, |#binding| (#step #rules, #binding), #load)#wait
        }
    })
}

/// A type whose lifetimes that have no name have this one.
fn with_lifetime(ty: TokenStream, lifetime: &Lifetime) -> TokenStream {
    let mut named = TokenStream::new();
    let mut tokens = ty.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == '&' => {
                let has_name =
                    matches!(tokens.peek(), Some(TokenTree::Punct(next)) if next.as_char() == '\'');
                named.extend([TokenTree::Punct(punct)]);
                if !has_name {
                    lifetime.to_tokens(&mut named);
                }
            }
            TokenTree::Punct(punct)
                if punct.as_char() == '\''
                    && matches!(tokens.peek(), Some(TokenTree::Ident(name)) if name == "_") =>
            {
                tokens.next();
                lifetime.to_tokens(&mut named);
            }
            TokenTree::Group(group) => {
                let mut inner = Group::new(group.delimiter(), with_lifetime(group.stream(), lifetime));
                inner.set_span(group.span());
                named.extend([TokenTree::Group(inner)]);
            }
            token => named.extend([token]),
        }
    }
    named
}

// Input: `fn load(&self, id: u64) -> R` with `handle = load_cache`. Output:
//
//     fn __load_cache_function() -> &'static Function { STATIC }
//     fn load_cache(&self, id: u64) -> Handle<impl Entry, impl FnOnce() -> R> { … }
pub(crate) fn of_method(plan: &Plan, name: &Ident) -> TokenStream {
    let (private, function) = (plan.private(), &plan.function);
    let (visibility, returned) = (&function.visibility, function.returned());
    let attributes: Vec<_> = function.attributes.iter().filter(|it| concerns_companion(it)).collect();
    let summary = format!(
        "The handle of what [`{0}`](Self::{0}) has cached for these arguments.",
        function.signature.ident
    );
    let (accessor, of_its_own, quiet) = (accessor(name), of_its_own(plan), quiet(plan));
    let keyed = Keyed::all(plan);
    let turbofish = keyed.turbofish();
    let Keyed { parameters, bindings, generics, .. } = &keyed;
    let (parameter_list, _, bounds) = generics.split_for_impl();
    let (method, entry) = (&function.signature.ident, entry(plan));
    let receiver = function.receiver();
    let receiver_parameter = receiver.map(|receiver| quote!(#receiver,));
    let path = receiver.map_or_else(
        || quote!(Self::),
        |receiver| {
            let this = receiver.self_token;
            quote!(#this.)
        },
    );
    let call = quote!(#path #method #turbofish(#(#bindings),*));
    let call = if function.is_unsafe() { quote!(unsafe { #call }) } else { call };
    let unsafety = function.is_unsafe().then(|| quote!(unsafe));
    let (handle, into_handle) = handle(plan);
    let (call, call_type) = if function.is_async() {
        (call, quote!(::core::future::Future<Output = #returned>))
    } else {
        (quote!(move || #call), quote!(::core::ops::FnOnce() -> #returned))
    };
    quote! {
        #(#attributes)*
        #[doc(hidden)]
        #quiet
        fn #accessor() -> &'static #private::Function #of_its_own

        #(#attributes)*
        #[doc = #summary]
        #quiet
        #visibility #unsafety fn #name #parameter_list(#receiver_parameter #(#parameters),*)
            -> #handle<impl #private::Entry<Returned = #returned>, impl #call_type> #bounds
        {
            #entry.#into_handle(#call)
        }
    }
}

/// The function as it is called from the background, where an argument may not be named like it. Of an `async`
/// one the future must be `Send`, which the function itself cannot ask of its own future.
fn recompute(plan: &Plan, name: &Ident, receiver: Option<&TokenStream>, path: &TokenStream) -> TokenStream {
    let all = Keyed::all(plan).renamed();
    let turbofish = all.turbofish();
    let Keyed { parameters, bindings, generics, .. } = &all;
    let (parameter_list, _, bounds) = generics.split_for_impl();
    let returned = plan.function.returned();
    let function = &plan.function.signature.ident;
    let returned = if plan.function.is_async() {
        let span = function.span().resolved_at(Span::mixed_site());
        quote_spanned!(span=> impl ::core::future::Future<Output = #returned> + ::core::marker::Send)
    } else {
        returned.to_token_stream()
    };
    quote! {
        fn #name #parameter_list(#receiver #(#parameters),*) -> #returned #bounds {
            #path #function #turbofish(#(#bindings),*)
        }
    }
}

fn recompute_of_function(plan: &Plan) -> TokenStream {
    recompute(plan, &Ident::new("__recompute", Span::mixed_site()), None, &TokenStream::new())
}

// Output: `fn __load_recompute(&self, id: u64) -> R { self.load(id) }`
pub(crate) fn recompute_of_method(plan: &Plan) -> TokenStream {
    let attributes: Vec<_> = plan.function.attributes.iter().filter(|it| concerns_companion(it)).collect();
    let quiet = quiet(plan);
    let receiver = plan.function.receiver();
    let path = receiver.map_or_else(
        || quote!(Self::),
        |receiver| {
            let this = receiver.self_token;
            quote!(#this.)
        },
    );
    let receiver = receiver.map(|receiver| quote!(#receiver,));
    let method = recompute(plan, &name_of_recompute(plan), receiver.as_ref(), &path);
    quote! {
        #(#attributes)*
        #[doc(hidden)]
        #quiet
        #method
    }
}

fn name_of_recompute(plan: &Plan) -> Ident {
    format_ident!("__{}_recompute", plan.function.signature.ident, span = Span::mixed_site())
}

/// How the function calls it.
pub(crate) fn path_of_recompute(plan: &Plan) -> TokenStream {
    let path = match &plan.companion {
        Companion::Type(name) => quote!(#name::__recompute),
        Companion::Handle(_) | Companion::Nothing => {
            let name = name_of_recompute(plan);
            quote!(Self::#name)
        }
    };
    let turbofish = Keyed::all(plan).turbofish();
    quote!(#path #turbofish)
}

/// The hidden function that has the static of a method with a handle.
pub(crate) fn accessor(handle: &Ident) -> Ident {
    format_ident!("__{handle}_function")
}

/// Attributes of the function without which what is beside it would not fit.
fn concerns_companion(attribute: &Attribute) -> bool {
    attribute.path().is_ident("cfg") || attribute.path().is_ident("deprecated")
}

/// `async`, the suffix of the runtime's twin, and `.await`, where the function is `async`.
fn twins(plan: &Plan) -> (Option<TokenStream>, &'static str, Option<TokenStream>) {
    if plan.function.is_async() {
        (Some(quote!(async)), "_async", Some(quote!(.await)))
    } else {
        (None, "", None)
    }
}

/// The handle of an entry, and the runtime's call that makes it.
fn handle(plan: &Plan) -> (TokenStream, TokenStream) {
    let krate = &plan.krate;
    if plan.function.is_async() {
        (quote!(#krate::AsyncHandle), quote!(handle_async))
    } else {
        (quote!(#krate::Handle), quote!(handle))
    }
}

/// The call as the companion sees it: its key, and the rules for a value that is put.
fn entry(plan: &Plan) -> TokenStream {
    let (function, identity) = if let Companion::Handle(name) = &plan.companion {
        let accessor = accessor(name);
        (quote!(Self::#accessor()), type_identity(plan, |_| true))
    } else {
        (quote!(Self::__function()), type_identity(plan, |argument| !plan.is_skipped(argument)))
    };
    let (outcome, key, rules) = (outcome(plan), plan.key(), &plan.rules);
    let entry = match (&plan.shared, &plan.saved) {
        (Some(_), _) => quote!(entry_shared),
        (None, Some(_)) => quote!(entry_saved),
        (None, None) => quote!(entry),
    };
    let call = with_patterns_by_reference(plan, quote!(#function.#entry(#outcome, #identity, #key)));
    quote!(#call #rules)
}

/// `name: Type`
struct Parameter(Ident, Type);

impl ToTokens for Parameter {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let Self(name, ty) = self;
        tokens.extend(quote!(#name: #ty));
    }
}

/// A part of the function's parameters, and how to pass them on.
struct Keyed {
    parameters: Vec<Parameter>,
    bindings: Vec<Ident>,
    generics: Generics,
    /// The names of the generic parameters that can be given explicitly.
    explicit: Vec<Ident>,
}

impl Keyed {
    /// The parameters that the key is made of.
    fn new(plan: &Plan) -> Self {
        let mut generics = plan.function.signature.generics.clone();
        let skipped = plan.impl_traits().filter(|it| plan.is_skipped(it.argument));
        generics.params.extend(skipped.flat_map(|it| it.parameters).map(GenericParam::Type));
        Self::of(plan, generics, |argument| !plan.is_skipped(argument))
    }

    /// All parameters.
    fn all(plan: &Plan) -> Self {
        Self::of(plan, plan.function.signature.generics.clone(), |_| true)
    }

    /// With parameters of the same names that are not the user's, so that one named like the function
    /// does not hide it.
    fn renamed(mut self) -> Self {
        for (parameter, binding) in self.parameters.iter_mut().zip(&mut self.bindings) {
            binding.set_span(Span::mixed_site());
            parameter.0 = binding.clone();
        }
        self
    }

    fn of(plan: &Plan, generics: Generics, is_taken: impl Fn(&Argument) -> bool) -> Self {
        let taken: Vec<_> = plan.arguments.iter().filter(|argument| is_taken(argument)).collect();
        let parameters = taken.iter().map(|it| Parameter(it.binding.clone(), it.ty.clone())).collect();
        let bindings = taken.iter().map(|argument| argument.binding.clone()).collect();
        let explicit = generics.params.iter().filter_map(|parameter| match parameter {
            GenericParam::Type(parameter) => Some(parameter.ident.clone()),
            GenericParam::Const(parameter) => Some(parameter.ident.clone()),
            GenericParam::Lifetime(_) => None,
        });
        let explicit = explicit.collect();
        Self { parameters, bindings, generics, explicit }
    }

    /// Explicit generic arguments, where there are any to give.
    fn turbofish(&self) -> Option<TokenStream> {
        let explicit = &self.explicit;
        (!explicit.is_empty()).then(|| quote!(::<#(#explicit),*>))
    }
}
