//! A plan as tokens: the static, and one call into the runtime.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};

use crate::companion;
use crate::plan::{Companion, Key, Plan, at, ends, type_parameters};
use crate::signature::Argument;

pub(crate) fn expand(plan: &Plan) -> TokenStream {
    let function = function(plan);
    let beside = match &plan.companion {
        Companion::Type(name) => companion::of_function(plan, name),
        Companion::Handle(name) => companion::of_method(plan, name),
        Companion::Nothing => TokenStream::new(),
    };
    quote!(#function #beside)
}

// Input:                            Output:
//
//     fn f(id: u64) -> R {              fn f(id: u64) -> R {
//         BODY                              static __FUNCTION: Function = …;
//     }                                     let step = begin(&__FUNCTION, OUTCOME, IDENTITY, KEY);
//                                           match step {
//                                               Step::Return(value) => value,
//                                               Step::Run(call) => call.run(move || -> R { BODY }),
//                                           }
//                                       }
fn function(plan: &Plan) -> TokenStream {
    let private = plan.private();
    let attributes = &plan.function.attributes;
    let visibility = &plan.function.visibility;
    let signature = &plan.function.signature;
    let (declaration, function) = match &plan.companion {
        Companion::Type(name) => (None, quote!(#name::__function())),
        Companion::Handle(name) => {
            let accessor = companion::accessor(name);
            (None, quote!(Self::#accessor()))
        }
        Companion::Nothing => (Some(declaration(plan)), quote!(&__FUNCTION)),
    };
    let begin = plan.lookup.as_ref().map_or_else(|| quote!(#private::begin), |_| quote!(#private::begin_if));
    let lookup = plan.lookup.as_ref().map(|lookup| quote!(#private::Lookup::new()#lookup,));
    let (outcome, identity, key) = (outcome(plan), identity(plan), plan.key());
    let step = quote!(#begin(#lookup #function, #outcome, #identity, #key));
    let step = with_patterns_by_reference(plan, step);
    let allow = plan.has_underscored().then(|| quote!(#[allow(clippy::used_underscore_binding)]));
    let rules = &plan.rules;
    let run = run(plan);
    // Names made here are not the user's, whatever those are.
    quote_spanned! {Span::mixed_site()=>
        #(#attributes)*
        #visibility #signature {
            #declaration
            #allow
            let step = #step;
            match step {
                #private::Step::Return(value) => value,
                #private::Step::Run(call) => call #rules #run,
            }
        }
    }
}

/// The static of the function.
pub(crate) fn declaration(plan: &Plan) -> TokenStream {
    let private = plan.private();
    let (name, policy) = (&plan.name, &plan.policy);
    quote! {
        static __FUNCTION: #private::Function = #private::Function::new(#name, #private::Policy::new()#policy);
    }
}

/// How what is returned is taken apart, at the return type.
pub(crate) fn outcome(plan: &Plan) -> TokenStream {
    let returned = plan.function.returned();
    let (first, last) = ends(&returned);
    let private = at(first, plan.private());
    let found = quote_spanned!(last=> .outcome());
    let outcome = quote_spanned!(first=> #private::value(#private::Ret::<#returned>::new()#found));
    match &plan.whole {
        Some(whole) => {
            let private = at(whole.span().resolved_at(Span::mixed_site()), plan.private());
            quote_spanned!(whole.span()=> #private::#whole(#outcome))
        }
        None => outcome,
    }
}

/// What tells the tables of a generic function apart, beside the types of key and value.
pub(crate) fn identity(plan: &Plan) -> TokenStream {
    let skipped = plan.skipped_impl_traits().map(|(Argument { binding, .. }, ..)| {
        let private = plan.private();
        quote!(#private::type_of(&#binding))
    });
    join_identity(plan, type_identity(plan), skipped)
}

pub(crate) fn join_identity(
    plan: &Plan,
    types: TokenStream,
    others: impl Iterator<Item = TokenStream>,
) -> TokenStream {
    let private = plan.private();
    others.fold(types, |identity, other| quote!(#private::both(#identity, #other)))
}

pub(crate) fn type_identity(plan: &Plan) -> TokenStream {
    let of_self = plan.is_method.then(|| Ident::new("Self", Span::mixed_site()));
    let types = type_parameters(&plan.function).cloned().chain(of_self);
    quote!(::core::marker::PhantomData::<(#(::core::marker::PhantomData<#types>,)*)>)
}

/// Binds the names in patterns by reference for the expressions of options.
pub(crate) fn with_patterns_by_reference(plan: &Plan, expression: TokenStream) -> TokenStream {
    let has_expressions = plan.lookup.is_some() || matches!(plan.key, Key::Expression(_));
    let patterns: Vec<_> =
        plan.arguments.iter().filter_map(|it| Some((it.pattern.as_ref()?, &it.binding))).collect();
    if patterns.is_empty() || !has_expressions {
        return expression;
    }
    let (patterns, bindings): (Vec<_>, Vec<_>) = patterns.into_iter().unzip();
    quote! {{
        #(#[allow(unused_variables)] let #patterns = &#bindings;)*
        #expression
    }}
}

/// The body, as what the runtime runs on a miss.
fn run(plan: &Plan) -> TokenStream {
    let returned = plan.function.returned();
    let body = plan.function.body.to_token_stream();
    let body =
        if plan.function.is_unsafe() { quote!({ #[allow(unused_unsafe)] unsafe #body }) } else { body };
    let patterns = plan.arguments.iter().filter_map(|argument| {
        let Argument { pattern, binding, .. } = argument;
        pattern.as_ref().map(|pattern| quote!(let #pattern = #binding;))
    });
    let patterns: Vec<_> = patterns.collect();
    let body = if patterns.is_empty() { body } else { quote!({ #(#patterns)* #body }) };
    if plan.function.is_async() {
        quote!(.run_async(async move || -> #returned #body).await)
    } else {
        quote!(.run(move || -> #returned #body))
    }
}
