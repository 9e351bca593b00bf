//! What the attribute is on: a function, taken apart as far as the expansion needs it.

use proc_macro2::{Group, Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::parse::{Parse, ParseStream, Parser};
use syn::{
    Attribute, FnArg, Ident, Pat, PatSlice, PatTuple, PatTupleStruct, Receiver, ReceiverKind, ReturnType,
    Safety, Signature, Token, Type, TypeImplTrait, Visibility,
};

use crate::borrows::borrows;
use crate::errors::Errors;

/// A function with its body unread: what is wrong in there, the compiler says better.
pub(crate) struct Function {
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) visibility: Visibility,
    pub(crate) signature: Signature,
    /// Absent in the declaration of a trait.
    pub(crate) body: Option<Group>,
}

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let attributes = input.call(Attribute::parse_outer)?;
        let visibility = input.parse()?;
        let signature = input.parse()?;
        let body = if input.peek(syn::token::Brace) {
            match input.parse()? {
                TokenTree::Group(body) => Some(body),
                _ => None,
            }
        } else {
            input.parse::<Token![;]>()?;
            None
        };
        Ok(Self { attributes, visibility, signature, body })
    }
}

impl Function {
    pub(crate) fn receiver(&self) -> Option<&Receiver> {
        self.signature.receiver()
    }

    pub(crate) fn is_async(&self) -> bool {
        self.signature.asyncness.is_some()
    }

    pub(crate) fn is_unsafe(&self) -> bool {
        matches!(self.signature.safety, Safety::Unsafe(_))
    }

    /// The return type as written, `()` when there is none.
    pub(crate) fn returned(&self) -> Type {
        match &self.signature.output {
            ReturnType::Type(_, ty) => (**ty).clone(),
            ReturnType::Default => syn::parse_quote_spanned!(self.signature.ident.span()=> ()),
        }
    }

    /// Whether `Self` is written in the signature, so that the function is in an impl or a trait.
    pub(crate) fn signature_mentions_self_type(&self) -> bool {
        mentions(self.signature.to_token_stream(), "Self")
    }

    /// Whether it is in the body, where it may be that of an impl in there.
    pub(crate) fn body_mentions_self_type(&self) -> bool {
        mentions(self.body.to_token_stream(), "Self")
    }
}

/// Whether a word is somewhere in some tokens.
pub(crate) fn mentions(tokens: TokenStream, word: &str) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident == word,
        TokenTree::Group(group) => mentions(group.stream(), word),
        _ => false,
    })
}

/// An argument, other than `self`.
pub(crate) struct Argument {
    /// What the argument is bound to: its own name, or one made for its pattern.
    pub(crate) binding: Ident,
    /// The pattern, unless it is a plain name.
    pub(crate) pattern: Option<Pat>,
    pub(crate) ty: Type,
}

impl Argument {
    /// The pattern, if it binds anything.
    pub(crate) fn binding_pattern(&self) -> Option<&Pat> {
        self.pattern.as_ref().filter(|pattern| !matches!(pattern, Pat::Wild(_)))
    }

    /// The names that the function knows the argument by.
    pub(crate) fn names(&self) -> Vec<Ident> {
        self.pattern.as_ref().map_or_else(|| vec![self.binding.clone()], |pattern| by_reference(pattern).1)
    }
}

/// A pattern for a reference to what it is for, and the names in it.
pub(crate) fn by_reference(pattern: &Pat) -> (Pat, Vec<Ident>) {
    let (mut pattern, mut names) = (pattern.clone(), Vec::new());
    take_by_reference(&mut pattern, &mut names);
    (pattern, names)
}

fn take_by_reference(pattern: &mut Pat, names: &mut Vec<Ident>) {
    while let Pat::Reference(reference) = pattern {
        *pattern = (*reference.pat).clone();
    }
    match pattern {
        Pat::Ident(name) => {
            (name.by_ref, name.mutability) = (None, None);
            names.push(name.ident.clone());
            name.subpat.iter_mut().for_each(|(_, pattern)| take_by_reference(pattern, names));
        }
        Pat::Or(or) => or.cases.iter_mut().for_each(|case| take_by_reference(case, names)),
        Pat::Paren(inner) => take_by_reference(&mut inner.pat, names),
        Pat::Slice(PatSlice { elems, .. })
        | Pat::Tuple(PatTuple { elems, .. })
        | Pat::TupleStruct(PatTupleStruct { elems, .. }) => {
            elems.iter_mut().for_each(|element| take_by_reference(element, names));
        }
        Pat::Struct(fields) => {
            fields.fields.iter_mut().for_each(|field| take_by_reference(&mut field.pat, names));
        }
        // Nothing is bound in others.
        _ => {}
    }
}

/// The arguments; those with patterns are given names, in the signature too.
pub(crate) fn name_arguments(signature: &mut Signature) -> Vec<Argument> {
    let mut arguments = Vec::new();
    for (number, input) in signature.inputs.iter_mut().enumerate() {
        let FnArg::Typed(argument) = input else { continue };
        let ty = (*argument.ty).clone();
        let (binding, pattern) = match &*argument.pat {
            Pat::Ident(plain) if plain.by_ref.is_none() && plain.subpat.is_none() => {
                (plain.ident.clone(), None)
            }
            pattern => {
                let name = Ident::new(&format!("arg{number}"), Span::mixed_site());
                let pattern = Some(pattern.clone());
                *argument.pat = syn::parse_quote!(#name);
                (name, pattern)
            }
        };
        arguments.push(Argument { binding, pattern, ty });
    }
    arguments
}

/// Notes what no option could make work.
pub(crate) fn check(function: &Function, errors: &mut Errors) {
    let signature = &function.signature;
    if let Some(constness) = &signature.constness {
        errors.at(
            constness,
            "a `const fn` cannot be cached: it may run at compile time, where there is no store",
        );
    }
    if let Some(variadic) = &signature.variadic {
        errors.at(
            variadic,
            "a variadic function cannot be cached: its arguments have no types to make a key of",
        );
    }
    if function.body.is_none() {
        errors.at(
            signature,
            "a function without a body cannot be cached: put `#[cached]` on the methods of the impls, or on a default method",
        );
    }
    if let ReturnType::Type(_, ty) = &signature.output {
        for borrow in borrows(ty) {
            errors.at(
                borrow,
                "a cached value outlives the call, so that it cannot borrow: return an owned value, such as `String` for `&str`, or an `Arc`",
            );
        }
        if let Type::Never(_) = **ty {
            errors.at(ty, "a function that never returns has nothing to cache");
        }
        with_impl_traits(ty.to_token_stream(), &mut |unnamed| {
            errors.at(
                &unnamed,
                "an `impl Trait` cannot be cached: its type has no name to store it under; return a concrete type, or an `Arc<dyn Trait>`",
            );
            unnamed.to_token_stream()
        });
    }
}

/// A type with something else in the place of each `impl Trait`.
pub(crate) fn with_impl_traits(
    ty: TokenStream,
    instead: &mut dyn FnMut(TypeImplTrait) -> TokenStream,
) -> TokenStream {
    let parser = |input: ParseStream<'_>| {
        let mut tokens = TokenStream::new();
        while !input.is_empty() {
            if input.peek(Token![impl]) {
                tokens.extend(instead(input.parse()?));
                continue;
            }
            tokens.extend([match input.parse()? {
                TokenTree::Group(group) => {
                    let mut inner = Group::new(group.delimiter(), with_impl_traits(group.stream(), instead));
                    inner.set_span(group.span());
                    TokenTree::Group(inner)
                }
                token => token,
            }]);
        }
        Ok(tokens)
    };
    // What is not one after an `impl`, in a macro, stays.
    parser.parse2(ty.clone()).unwrap_or(ty)
}

/// Whether this is `&mut self`.
pub(crate) fn is_mutable_reference(receiver: &Receiver) -> bool {
    match &receiver.kind {
        ReceiverKind::Reference(_, _, mutability) => mutability.is_some(),
        ReceiverKind::Typed(_, ty) => is_mutable(ty),
        _ => false,
    }
}

/// Whether this is `&mut T`.
pub(crate) fn is_mutable(ty: &Type) -> bool {
    match ty {
        Type::Reference(reference) => reference.mutability.is_some(),
        Type::Paren(inner) => is_mutable(&inner.elem),
        Type::Group(inner) => is_mutable(&inner.elem),
        _ => false,
    }
}

/// Whether this is `&T`.
pub(crate) fn is_shared(ty: &Type) -> bool {
    match ty {
        Type::Reference(reference) => reference.mutability.is_none(),
        Type::Paren(inner) => is_shared(&inner.elem),
        Type::Group(inner) => is_shared(&inner.elem),
        _ => false,
    }
}

/// Whether this is `&self`.
pub(crate) fn is_shared_receiver(receiver: &Receiver) -> bool {
    match &receiver.kind {
        ReceiverKind::Reference(_, _, mutability) => mutability.is_none(),
        ReceiverKind::Typed(_, ty) => is_shared(ty),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors_of(returned: &str) -> usize {
        let function: Function = syn::parse_str(&format!("fn f() -> {returned} {{}}")).expect("a function");
        let mut errors = Errors::default();
        check(&function, &mut errors);
        errors.into_tokens().to_string().matches("compile_error").count()
    }

    #[test]
    fn what_borrows_or_has_no_name_cannot_be_returned() {
        for (returned, expected) in [
            ("u64", 0),
            ("&'static str", 0),
            ("Result<Vec<Option<String>>, Error>", 0),
            ("Arc<dyn Fn(&str) -> &str + Send + Sync>", 0),
            ("fn(&str) -> &str", 0),
            ("Arc<dyn for<'a> Trait<'a>>", 0),
            ("&str", 1),
            ("&'a str", 1),
            ("Option<&'a str>", 1),
            ("Cow<'_, str>", 1),
            ("(&str, &str)", 2),
            ("impl Iterator<Item = u8>", 1),
            ("Vec<impl Clone>", 1),
            ("!", 1),
        ] {
            assert_eq!(errors_of(returned), expected, "{returned}");
        }
    }
}
