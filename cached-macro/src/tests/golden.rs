//! What each shape of function expands to, to be read beside what it was: `golden/SHAPE.rs` and
//! `golden/SHAPE.expanded.rs`. Written anew by
//!
//!     GOLDEN=overwrite cargo test -p cached-macro golden

use std::path::{Path, PathBuf};

use syn::{Item, ItemFn};

use super::{expand, file, pretty};

fn shapes() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let files = folder.read_dir().expect("there is a folder").map(|file| file.expect("it is read").path());
    let is_shape = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let needs_backend = name.starts_with("backend") || name.starts_with("saved");
        !name.contains(".expanded.") && (cfg!(feature = "backend") || !needs_backend)
    };
    let mut shapes: Vec<_> = files.filter(is_shape).collect();
    shapes.sort();
    assert!(shapes.len() >= 10);
    shapes
}

/// A file of one function, or of one impl or trait with one function.
fn expanded(text: &str) -> String {
    match syn::parse_file(text).expect("it is Rust").items.remove(0) {
        Item::Fn(function) => pretty(file(expand(&quote::quote!(#function).to_string())).items),
        other => {
            let text = quote::quote!(#other).to_string();
            // A method is a function to the parser of this test, its block what stands around it.
            let start = text.find('{').expect("it has a block") + 1;
            let end = text.rfind('}').expect("it has a block");
            let inner = expand(&text[start..end]);
            let (before, after) = (&text[..start], &text[end..]);
            pretty(file(format!("{before}{inner}{after}").parse().expect("it is Rust")).items)
        }
    }
}

#[test]
fn expansions_are_as_expected() {
    for shape in shapes() {
        let expansion = expanded(&std::fs::read_to_string(&shape).expect("it is read"));
        let path = shape.with_extension("expanded.rs");
        if std::env::var_os("GOLDEN").is_some() {
            std::fs::write(&path, &expansion).expect("it is written");
        }
        let expected = std::fs::read_to_string(&path).expect("GOLDEN=overwrite writes it");
        assert_eq!(expansion, expected, "{}", path.display());
    }
}

#[cfg(not(feature = "backend"))]
#[test]
fn a_backend_and_a_file_need_their_feature() {
    let expansion = expand("#[cached(backend = PAGES)] fn item(id: u64) -> Item { load(id) }").to_string();
    assert!(expansion.contains("`backend` needs the feature `backend`"), "{expansion}");
    let expansion = expand("#[cached(save)] fn item(id: u64) -> Item { load(id) }").to_string();
    assert!(expansion.contains("`save` needs the feature `backend`"), "{expansion}");
}

fn lines(item: Item) -> usize {
    pretty(vec![item]).lines().count()
}

/// Lines that a function gets longer by, and lines that are put beside it.
fn added(text: &str) -> (usize, usize) {
    let before = lines(Item::Fn(syn::parse_str::<ItemFn>(text).expect("it is a function")));
    let mut function = 0;
    let mut beside = 0;
    for item in file(expand(text)).items {
        match item {
            Item::Fn(_) if function == 0 => function = lines(item),
            other => beside += lines(other),
        }
    }
    // The attribute is gone.
    (function + 1 - before, beside)
}

#[test]
fn an_expansion_is_short() {
    let (function, companion) = added(
        "#[cached(timeout = 300)] fn item(id: u64, lang: &str) -> Result<Item, Error> { load(id, lang) }",
    );
    assert!(function <= 20, "{function} lines");
    println!("a function gets {function} lines longer, its companion has {companion}");
    let (method, beside) = added(
        "#[cached(timeout = 300, skip(self))] fn item(&self, id: u64) -> Result<Item, Error> { self.load(id) }",
    );
    assert!(method <= 20 && beside == 0, "{method} lines, {beside} beside");
    let (function, _) =
        added("#[cached(timeout = 300)] async fn item(id: u64) -> Result<Item, Error> { load(id).await }");
    assert!(function <= 24, "{function} lines");
    let (method, _) =
        added("#[cached(skip(self))] async fn item(&self, id: u64) -> Item { self.load(id).await }");
    assert!(method <= 24, "{method} lines");
}
