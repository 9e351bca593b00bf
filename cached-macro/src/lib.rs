//! The `#[cached]` attribute of the crate `cached-runtime`, which re-exports it: depend on that one.

#![forbid(unsafe_code)]

mod borrows;
mod cfg;
mod checks;
mod companion;
mod enclosing;
mod errors;
mod expand;
mod options;
mod owned;
mod plan;
mod signature;
#[cfg(test)]
mod tests;
mod writer;

use enclosing::Place;
use errors::Errors;
use options::Options;
use plan::Plan;
use proc_macro2::TokenStream;
use quote::quote;
use signature::Function;
use syn::parse_quote;
use writer::Writes;

/// Its documentation is where it is used from: `cached_runtime::cached`.
#[proc_macro_attribute]
pub fn cached(arguments: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    attribute(&arguments.into(), &item.into(), enclosing::place).into()
}

/// Its documentation is where it is used from: `cached_runtime::invalidates`.
#[proc_macro_attribute]
pub fn invalidates(
    arguments: proc_macro::TokenStream,
    item: proc_macro::TokenStream,
) -> proc_macro::TokenStream {
    writer(Writes::Invalidates, &arguments.into(), &item.into()).into()
}

/// Its documentation is where it is used from: `cached_runtime::updates`.
#[proc_macro_attribute]
pub fn updates(arguments: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    writer(Writes::Updates, &arguments.into(), &item.into()).into()
}

/// An attribute of a writer.
fn writer(writes: Writes, arguments: &TokenStream, item: &TokenStream) -> TokenStream {
    let Ok(function) = syn::parse2::<Function>(item.clone()) else {
        let mut errors = Errors::default();
        let attribute = writes.attribute();
        errors.at_span(first_span(item), format!("`#[{attribute}]` goes on a function"));
        return with_errors(errors, item);
    };
    writer::attribute(writes, arguments, function).unwrap_or_else(|errors| with_errors(errors, item))
}

/// The attribute `#[cached]`; `place` is asked where the function itself does not tell.
fn attribute(arguments: &TokenStream, item: &TokenStream, place: fn() -> Option<Place>) -> TokenStream {
    let mut errors = Errors::default();
    let Ok(function) = syn::parse2::<Function>(item.clone()) else {
        errors.at_span(first_span(item), "`#[cached]` goes on a function");
        return with_errors(errors, item);
    };
    let writes = function.attributes.iter().find(|it| Writes::of(it.path()).is_some());
    if let Some(writes) = writes {
        errors.at(writes, writer::NOT_CACHED);
    }
    let options = Options::parse(arguments.clone(), &mut errors);
    let krate =
        options.krate.as_ref().map_or_else(|| parse_quote!(::cached_runtime), |krate| krate.value.clone());
    if let Some(variants) = cfg::distribute(&krate, arguments, &function) {
        return variants;
    }
    let is_method = function.receiver().is_some()
        || function.signature_mentions_self_type()
        || place().map_or_else(|| function.body_mentions_self_type(), |place| place != Place::Outside);
    if let Some(handle) = &options.handle
        && is_method
        && place() == Some(Place::Trait)
    {
        errors.at(&handle.name, NO_HANDLE);
    }
    if let Some(option) = options.in_background()
        && is_method
        && place() == Some(Place::Trait)
    {
        errors.at(option, NO_BACKGROUND);
    }
    let plan = Plan::new(function, options, is_method, &mut errors);
    if errors.is_empty() { expand::expand(&plan) } else { with_errors(errors, item) }
}

const NO_HANDLE: &str = "a trait's method can have no `handle`, as that is one more method: \
     put the body into a method of the type itself, with `#[cached(handle = ...)]`, and call it from here";

const NO_BACKGROUND: &str = "a trait's method cannot be called from the background, as it has no name of its own there: \
     let one of the callers compute with `revalidate = \"inline\"`, or put the body into a method of the type itself, \
     with the attribute, and call it from here";

/// The item as it was, so that nothing else in the crate breaks, and what is wrong with it.
fn with_errors(errors: Errors, item: &TokenStream) -> TokenStream {
    let errors = errors.into_tokens();
    quote!(#item #errors)
}

fn first_span(tokens: &TokenStream) -> proc_macro2::Span {
    tokens.clone().into_iter().next().map_or_else(proc_macro2::Span::call_site, |token| token.span())
}
