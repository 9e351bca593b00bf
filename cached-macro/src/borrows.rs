//! What borrows in a type, and what the runtime can follow of it.

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::{
    AssocType, GenericArgument, Lifetime, Path, PathArguments, TraitBound, Type, TypeArray, TypeGroup,
    TypeParamBound, TypeParen, TypePath, TypePtr, TypeReference, TypeSlice,
};

/// Whether an argument borrows no deeper than the runtime follows, which is decided by type in there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    Followed,
    Deeper,
    /// It may be another name of what can be followed.
    Unknown,
}

pub(crate) fn depth(ty: &Type) -> Depth {
    let ty = bare(ty);
    let behind = behind(ty);
    if borrows(behind.unwrap_or(ty)).is_empty() {
        Depth::Followed
    } else if behind.is_none() && matches!(ty, Type::Path(_)) {
        Depth::Unknown
    } else {
        Depth::Deeper
    }
}

/// The `T` of `&T`, `&&T`, `&[&T]`, `[&T; N]`, `Vec<&T>`, `Option<&T>` and `Cow<T>`, as in the runtime's
/// `key` module.
fn behind(ty: &Type) -> Option<&Type> {
    match ty {
        Type::Reference(TypeReference { elem, .. }) => Some(match bare(elem) {
            Type::Slice(slice) => referent(&slice.elem).unwrap_or(elem),
            elem => referent(elem).unwrap_or(elem),
        }),
        Type::Array(array) => referent(&array.elem),
        Type::Path(TypePath { path, .. }) => {
            let last = path.segments.last()?;
            let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
            let argument = arguments.args.iter().find_map(|argument| match argument {
                GenericArgument::Type(ty) => Some(ty),
                _ => None,
            })?;
            match last.ident.to_string().as_str() {
                "Vec" | "Option" => referent(argument),
                "Cow" => Some(argument),
                _ => None,
            }
        }
        _ => None,
    }
}

/// The runtime's wrapper that the lookup of an argument's view begins with. `Arg`, the outermost, is right
/// for any type; that of a plain one the compiler finds in a third of the time further in.
pub(crate) fn wrapper(ty: &Type) -> &'static str {
    match bare(ty) {
        Type::Reference(reference) if is_plain(&reference.elem) => "Ref",
        ty if is_plain(ty) => "Val",
        _ => "Arg",
    }
}

/// Whether a type is written as one that borrows nothing and is a key.
fn is_plain(ty: &Type) -> bool {
    const PLAIN: [&str; 16] = [
        "bool", "char", "str", "String", "u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32",
        "i64", "i128", "isize",
    ];
    match ty {
        Type::Path(TypePath { qself: None, path, .. }) => PLAIN.iter().any(|plain| path.is_ident(plain)),
        _ => false,
    }
}

pub(crate) fn referent(ty: &Type) -> Option<&Type> {
    match bare(ty) {
        Type::Reference(reference) => Some(&reference.elem),
        _ => None,
    }
}

/// A type without the groups and parentheses around it.
pub(crate) fn bare(ty: &Type) -> &Type {
    match ty {
        Type::Paren(inner) => bare(&inner.elem),
        Type::Group(inner) => bare(&inner.elem),
        other => other,
    }
}

/// The references and the lifetimes in a type that are not `'static`.
pub(crate) fn borrows(ty: &Type) -> Vec<TokenStream> {
    let mut found = Vec::new();
    of_type(ty, &mut found);
    found
}

fn of_type(ty: &Type, found: &mut Vec<TokenStream>) {
    match ty {
        Type::Reference(reference) => match &reference.lifetime {
            Some(lifetime) if lifetime.ident == "static" => of_type(&reference.elem, found),
            _ => found.push(reference.to_token_stream()),
        },
        Type::Array(TypeArray { elem, .. })
        | Type::Group(TypeGroup { elem, .. })
        | Type::Paren(TypeParen { elem, .. })
        | Type::Ptr(TypePtr { elem, .. })
        | Type::Slice(TypeSlice { elem, .. }) => of_type(elem, found),
        Type::Tuple(tuple) => tuple.elems.iter().for_each(|element| of_type(element, found)),
        Type::Path(TypePath { qself: None, path, .. }) => of_path(path, found),
        Type::TraitObject(object) => object.bounds.iter().for_each(|bound| of_bound(bound, found)),
        // What others are is not written here, or lives as long as a call of the value.
        _ => {}
    }
}

fn of_path(path: &Path, found: &mut Vec<TokenStream>) {
    for segment in &path.segments {
        // The lifetimes in parentheses are the callers' of a function, not the value's.
        let PathArguments::AngleBracketed(arguments) = &segment.arguments else { continue };
        for argument in &arguments.args {
            match argument {
                GenericArgument::Lifetime(lifetime) => of_lifetime(lifetime, found),
                GenericArgument::Type(ty) | GenericArgument::AssocType(AssocType { ty, .. }) => {
                    of_type(ty, found);
                }
                GenericArgument::Constraint(constraint) => {
                    constraint.bounds.iter().for_each(|bound| of_bound(bound, found));
                }
                _ => {}
            }
        }
    }
}

fn of_bound(bound: &TypeParamBound, found: &mut Vec<TokenStream>) {
    match bound {
        TypeParamBound::Lifetime(lifetime) => of_lifetime(lifetime, found),
        TypeParamBound::Trait(TraitBound { lifetimes: None, path, .. }) => of_path(path, found),
        _ => {}
    }
}

fn of_lifetime(lifetime: &Lifetime, found: &mut Vec<TokenStream>) {
    if lifetime.ident != "static" {
        found.push(lifetime.to_token_stream());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lookup_begins_no_later_than_it_must() {
        for (ty, expected) in [
            ("u64", "Val"),
            ("(String)", "Val"),
            ("&str", "Ref"),
            ("&'a String", "Ref"),
            ("f64", "Arg"),
            ("&f64", "Arg"),
            ("&&str", "Arg"),
            ("&[u8]", "Arg"),
            ("Option<&str>", "Arg"),
            ("std::string::String", "Arg"),
            ("Item", "Arg"),
        ] {
            assert_eq!(wrapper(&syn::parse_str(ty).expect("a type")), expected, "{ty}");
        }
    }

    #[test]
    fn what_borrows_deeper_than_the_runtime_follows_is_found() {
        for (ty, expected) in [
            ("u64", Depth::Followed),
            ("&str", Depth::Followed),
            ("&'a str", Depth::Followed),
            ("&&str", Depth::Followed),
            ("&[&str]", Depth::Followed),
            ("&[String]", Depth::Followed),
            ("&Option<String>", Depth::Followed),
            ("Vec<&str>", Depth::Followed),
            ("::std::vec::Vec<&'a str>", Depth::Followed),
            ("[&str; 2]", Depth::Followed),
            ("Option<&str>", Depth::Followed),
            ("Option<&[u8]>", Depth::Followed),
            ("std::borrow::Cow<'_, str>", Depth::Followed),
            ("Vec<(&'static str, u32)>", Depth::Followed),
            ("&[Option<&'static str>]", Depth::Followed),
            ("Arc<dyn Fn(&str) -> &str>", Depth::Followed),
            ("&(impl Key + 'a)", Depth::Followed),
            ("<T as Trait<'a>>::Item", Depth::Followed),
            ("&[Option<&str>]", Depth::Deeper),
            ("&&[&str]", Depth::Deeper),
            ("&&&str", Depth::Deeper),
            ("&Vec<&str>", Depth::Deeper),
            ("&Option<&str>", Depth::Deeper),
            ("&Cow<'_, str>", Depth::Deeper),
            ("&Query<'_>", Depth::Deeper),
            ("Option<&[&str]>", Depth::Deeper),
            ("Vec<&Query<'_>>", Depth::Deeper),
            ("[(&str, &str); 2]", Depth::Deeper),
            ("Option<Cow<'_, str>>", Depth::Unknown),
            ("Vec<(&str, u32)>", Depth::Unknown),
            ("Query<'_>", Depth::Unknown),
            ("Box<&str>", Depth::Unknown),
        ] {
            assert_eq!(depth(&syn::parse_str(ty).expect("a type")), expected, "{ty}");
        }
    }
}
