//! The attribute as a function from tokens to tokens.

mod golden;
mod mutations;

use proc_macro2::TokenStream;
use syn::{Item, Meta, Path};

use crate::enclosing::Place;
use crate::writer::Writes;

/// What an item under one of the attributes expands to.
fn expand(item: &str) -> TokenStream {
    let tokens: TokenStream = item.parse().expect("it is Rust");
    let mut item: syn::ItemFn = syn::parse2(tokens).expect("it is a function");
    let is_ours = |path: &Path| path.is_ident("cached") || Writes::of(path).is_some();
    let at = item.attrs.iter().position(|it| is_ours(it.path())).expect("it is annotated");
    let attribute = item.attrs.remove(at).meta;
    let writes = Writes::of(attribute.path());
    let arguments = match attribute {
        Meta::List(list) => list.tokens,
        _ => TokenStream::new(),
    };
    let item = quote::quote!(#item);
    match writes {
        Some(writes) => crate::writer(writes, &arguments, &item),
        None => crate::attribute(&arguments, &item, || Some(Place::Outside)),
    }
}

/// Many items, as a file would have them.
fn file(tokens: TokenStream) -> syn::File {
    syn::parse2(tokens).expect("it is a file")
}

/// Some tokens as people read them.
fn pretty(items: Vec<Item>) -> String {
    prettyplease::unparse(&syn::File { shebang: None, frontmatter: None, attrs: Vec::new(), items })
}
