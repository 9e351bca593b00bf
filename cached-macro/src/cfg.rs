//! Arguments under a `#[cfg]`. Whether they are there is not known to the macro, so that it leaves the
//! decision to the compiler: one function with the argument, one without, each under its condition.

use proc_macro2::{Ident, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::{Attribute, FnArg, Meta, Pat, Path};

use crate::signature::Function;

// Input:                                        Output:
//
//     #[cached(ARGUMENTS)]                          #[cfg(C)] #[cached(ARGUMENTS)]
//     fn f(#[cfg(C)] a: A, b: B) -> R { BODY }      fn f(a: A, b: B) -> R { BODY }
//
//                                                   #[cfg(not(C))] #[cached(ARGUMENTS)]
//                                                   fn f(b: B) -> R { BODY }
//
/// The two functions, if there is such an argument; further ones are left to the next expansion.
pub(crate) fn distribute(krate: &Path, arguments: &TokenStream, function: &Function) -> Option<TokenStream> {
    let (at, condition) = function.signature.inputs.iter().enumerate().find_map(|(at, input)| {
        let condition = attributes(input).iter().find_map(condition)?;
        Some((at, condition))
    })?;
    let name = match &function.signature.inputs[at] {
        FnArg::Receiver(receiver) => Some(Ident::from(receiver.self_token)),
        FnArg::Typed(argument) => match &*argument.pat {
            Pat::Ident(name) => Some(name.ident.clone()),
            _ => None,
        },
    };
    let variant = |condition: TokenStream, is_there: bool| {
        // What is not there need not be skipped.
        let arguments = match &name {
            Some(name) if !is_there => without_skipped(arguments, name),
            _ => arguments.clone(),
        };
        let Function { attributes: outer, visibility, body, signature } = function;
        let mut signature = signature.clone();
        signature.inputs = signature
            .inputs
            .into_iter()
            .enumerate()
            .filter(|(number, _)| is_there || *number != at)
            .map(|(number, mut input)| {
                if number == at {
                    remove_condition(&mut input);
                }
                input
            })
            .collect();
        quote!(#[cfg(#condition)] #[#krate::cached(#arguments)] #(#outer)* #visibility #signature #body)
    };
    let (with, without) = (variant(condition.clone(), true), variant(quote!(not(#condition)), false));
    Some(quote!(#with #without))
}

/// The attribute's arguments without a name in its `skip(…)`.
fn without_skipped(arguments: &TokenStream, name: &Ident) -> TokenStream {
    let mut options: Vec<TokenStream> = split(arguments);
    for option in &mut options {
        let tokens: Vec<TokenTree> = option.clone().into_iter().collect();
        if let [TokenTree::Ident(skip), TokenTree::Group(list)] = &tokens[..]
            && skip == "skip"
        {
            let names = split(&list.stream());
            let others: Vec<_> = names.iter().filter(|it| *name != it.to_string()).collect();
            *option = if others.is_empty() { TokenStream::new() } else { quote!(#skip(#(#others),*)) };
        }
    }
    options.retain(|option| !option.is_empty());
    quote!(#(#options),*)
}

/// What stands between commas.
fn split(tokens: &TokenStream) -> Vec<TokenStream> {
    let mut parts = vec![TokenStream::new()];
    for token in tokens.clone() {
        match (&token, parts.last_mut()) {
            (TokenTree::Punct(comma), _) if comma.as_char() == ',' => parts.push(TokenStream::new()),
            (_, Some(last)) => token.to_tokens(last),
            _ => {}
        }
    }
    parts
}

fn attributes(input: &FnArg) -> &[Attribute] {
    match input {
        FnArg::Receiver(receiver) => &receiver.attrs,
        FnArg::Typed(argument) => &argument.attrs,
    }
}

fn remove_condition(input: &mut FnArg) {
    let attributes = match input {
        FnArg::Receiver(receiver) => &mut receiver.attrs,
        FnArg::Typed(argument) => &mut argument.attrs,
    };
    if let Some(at) = attributes.iter().position(|attribute| condition(attribute).is_some()) {
        attributes.remove(at);
    }
}

/// What is in a `#[cfg(…)]`.
fn condition(attribute: &Attribute) -> Option<TokenStream> {
    match &attribute.meta {
        Meta::List(list) if list.path.is_ident("cfg") => Some(list.tokens.clone()),
        _ => None,
    }
}
