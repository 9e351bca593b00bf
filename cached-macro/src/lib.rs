//! The `#[cached]` attribute of the crate `cached-runtime`, which re-exports it: depend on that one.

#![forbid(unsafe_code)]

mod cfg;
mod companion;
mod enclosing;
mod errors;
mod expand;
mod options;
mod plan;
mod signature;
#[cfg(test)]
mod tests;

use errors::Errors;
use options::Options;
use plan::Plan;
use proc_macro2::TokenStream;
use quote::quote;
use signature::Function;
use syn::parse_quote;

/// Its documentation is where it is used from: `cached_runtime::cached`.
#[proc_macro_attribute]
pub fn cached(arguments: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    attribute(&arguments.into(), &item.into(), enclosing::is_in_impl).into()
}

/// The attribute; `is_in_impl` is asked where the function itself does not tell.
fn attribute(arguments: &TokenStream, item: &TokenStream, is_in_impl: fn() -> bool) -> TokenStream {
    let mut errors = Errors::default();
    let Ok(function) = syn::parse2::<Function>(item.clone()) else {
        errors.at_span(first_span(item), "`#[cached]` goes on a function");
        return with_errors(errors, item);
    };
    let options = Options::parse(arguments.clone(), &mut errors);
    let krate =
        options.krate.as_ref().map_or_else(|| parse_quote!(::cached_runtime), |krate| krate.value.clone());
    if let Some(variants) = cfg::distribute(&krate, arguments, &function) {
        return variants;
    }
    let is_method = function.receiver().is_some() || function.mentions_self_type() || is_in_impl();
    let plan = Plan::new(function, options, is_method, &mut errors);
    if errors.is_empty() { expand::expand(&plan) } else { with_errors(errors, item) }
}

/// The item as it was, so that nothing else in the crate breaks, and what is wrong with it.
fn with_errors(errors: Errors, item: &TokenStream) -> TokenStream {
    let errors = errors.into_tokens();
    quote!(#item #errors)
}

fn first_span(tokens: &TokenStream) -> proc_macro2::Span {
    tokens.clone().into_iter().next().map_or_else(proc_macro2::Span::call_site, |token| token.span())
}
