//! The attribute as a function from tokens to tokens.

mod golden;
mod mutations;

use proc_macro2::TokenStream;
use syn::{Item, Meta};

use crate::enclosing::Place;

/// What an item under `#[cached]` expands to.
fn expand(item: &str) -> TokenStream {
    let tokens: TokenStream = item.parse().expect("it is Rust");
    let mut item: syn::ItemFn = syn::parse2(tokens).expect("it is a function");
    let at = item.attrs.iter().position(|it| it.path().is_ident("cached")).expect("it is annotated");
    let arguments = match item.attrs.remove(at).meta {
        Meta::List(list) => list.tokens,
        _ => TokenStream::new(),
    };
    crate::attribute(&arguments, &quote::quote!(#item), || Some(Place::Outside))
}

/// Many items, as a file would have them.
fn file(tokens: TokenStream) -> syn::File {
    syn::parse2(tokens).expect("it is a file")
}

/// Some tokens as people read them.
fn pretty(items: Vec<Item>) -> String {
    prettyplease::unparse(&syn::File { shebang: None, frontmatter: None, attrs: Vec::new(), items })
}
