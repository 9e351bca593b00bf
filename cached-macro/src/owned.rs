//! Arguments that are taken along into the background: how the runtime copies each of them, by the form of its
//! type.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::{GenericArgument, PathArguments, Receiver, ReceiverKind, Type, TypePath, TypeReference};

use crate::borrows::{bare, borrows, referent};
use crate::errors::Errors;
use crate::plan::{Plan, at, ends};
use crate::signature::{self, Argument};

/// An argument, or `self`, with the runtime's function that copies it.
pub(crate) struct Copied {
    argument: TokenStream,
    /// What is underlined where it cannot be copied.
    place: TokenStream,
    by: &'static str,
}

/// Copies of all arguments; notes those that cannot be copied.
pub(crate) fn copies(
    receiver: Option<&Receiver>,
    arguments: &[Argument],
    errors: &mut Errors,
) -> Vec<Copied> {
    let mut copies = Vec::new();
    if let Some(receiver) = receiver {
        let by = match &receiver.kind {
            ReceiverKind::Reference(..) if signature::is_mutable_reference(receiver) => None,
            ReceiverKind::Reference(..) => Some("reference"),
            ReceiverKind::Typed(_, ty) => by(ty),
            _ => Some("value"),
        };
        let argument = receiver.self_token.to_token_stream();
        copies.extend(copied(argument, receiver.to_token_stream(), by, errors));
    }
    for Argument { binding, ty, .. } in arguments {
        copies.extend(copied(binding.to_token_stream(), ty.to_token_stream(), by(ty), errors));
    }
    copies
}

const BORROWS: &str = "this cannot be taken along into the background, where a value is computed anew: a copy can be \
     made of owned arguments, `&T`, `Option<&T>`, `Cow<T>` and lists of `&T`. With `revalidate = \"inline\"` one of \
     the callers computes, with the arguments that it has";

fn copied(
    argument: TokenStream,
    place: TokenStream,
    by: Option<&'static str>,
    errors: &mut Errors,
) -> Option<Copied> {
    if by.is_none() {
        errors.at(&place, BORROWS);
    }
    Some(Copied { argument, place, by: by? })
}

/// The runtime's function for arguments of this form, if there is one.
fn by(ty: &Type) -> Option<&'static str> {
    let ty = bare(ty);
    if borrows(ty).is_empty() {
        return Some("value");
    }
    let owned = |ty: &Type, by| borrows(ty).is_empty().then_some(by);
    match ty {
        Type::Reference(TypeReference { mutability: Some(_), .. }) => None,
        Type::Reference(TypeReference { elem, .. }) => match bare(elem) {
            Type::Slice(slice) if referent(&slice.elem).is_some() => owned(referent(&slice.elem)?, "slice"),
            elem => match referent(elem) {
                Some(elem) => owned(elem, "twice"),
                None => owned(elem, "reference"),
            },
        },
        Type::Array(array) => owned(referent(&array.elem)?, "array"),
        Type::Path(TypePath { path, .. }) => {
            let last = path.segments.last()?;
            let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
            let argument = arguments.args.iter().find_map(|argument| match argument {
                GenericArgument::Type(ty) => Some(ty),
                _ => None,
            })?;
            match last.ident.to_string().as_str() {
                "Vec" => owned(referent(argument)?, "list"),
                "Option" => owned(referent(argument)?, "optional"),
                "Cow" => owned(argument, "cow"),
                _ => None,
            }
        }
        _ => None,
    }
}

// Input: `fn f(id: u64, lang: &str)`. Output:
//
//     .background(|| {
//         let mut copy0 = own::value(&id);
//         let mut copy1 = own::reference(&lang);
//         move || RECOMPUTE(copy0.lend().pass(), copy1.lend().pass())
//     })
pub(crate) fn background(plan: &Plan, copies: &[Copied], recompute: &TokenStream) -> TokenStream {
    let names: Vec<_> =
        (0..copies.len()).map(|number| Ident::new(&format!("copy{number}"), Span::mixed_site())).collect();
    let copies = copies.iter().map(|Copied { argument, place, by }| {
        let (first, last) = ends(place);
        let private = at(first, plan.private());
        let by = Ident::new(by, first);
        let argument = reference(argument, first, last);
        quote_spanned!(first=> #private::own::#by(#argument))
    });
    let allow = plan.has_underscored_arguments().then(|| quote!(#[allow(clippy::used_underscore_binding)]));
    let deprecated = plan.is_deprecated().then(|| quote!(#[allow(deprecated)]));
    let call = quote!(#recompute(#(#names.lend().pass()),*));
    let made = quote!(#(#allow let mut #names = #copies;)*);
    if plan.function.is_async() {
        quote!(.background_async(|| { #made async move { #deprecated let value = #call.await; value } }))
    } else {
        quote!(.background(|| { #made move || { #deprecated let value = #call; value } }))
    }
}

/// A reference to an argument, as an expression from one place to another.
fn reference(argument: &TokenStream, first: Span, last: Span) -> TokenStream {
    let argument: TokenStream = argument
        .clone()
        .into_iter()
        .map(|mut token| {
            token.set_span(token.span().located_at(last));
            token
        })
        .collect();
    // Its context is the argument's, without which the two would not be one place.
    let span = argument.clone().into_iter().next().map_or(first, |token| token.span().located_at(first));
    let reference = quote_spanned!(span=> &);
    quote!(#reference #argument)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_of_argument_is_copied_in_its_way() {
        for (ty, expected) in [
            ("u64", Some("value")),
            ("Arc<Db>", Some("value")),
            ("&'static str", Some("value")),
            ("Option<&'static str>", Some("value")),
            ("&str", Some("reference")),
            ("&'a (Vec<u8>)", Some("reference")),
            ("&&str", Some("twice")),
            ("&[u8]", Some("reference")),
            ("&[&str]", Some("slice")),
            ("Vec<&str>", Some("list")),
            ("[&str; 2]", Some("array")),
            ("Option<&str>", Some("optional")),
            ("std::borrow::Cow<'_, str>", Some("cow")),
            ("&mut u8", None),
            ("&Query<'_>", None),
            ("Query<'_>", None),
            ("&[Option<&str>]", None),
            ("(&str, u8)", None),
            ("Box<&str>", None),
            ("&&&str", None),
        ] {
            assert_eq!(by(&syn::parse_str(ty).expect("a type")), expected, "{ty}");
        }
    }
}
