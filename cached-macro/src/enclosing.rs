//! Whether a function stands in an impl or a trait.
//!
//! A function with `self`, or that mentions `Self`, does. Of any other the macro sees no more than the
//! function itself, so that it looks at where the attribute stands in its file. Where there is no file
//! to be read, the function is taken for a free one.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use proc_macro::{Delimiter, TokenStream, TokenTree};

/// A line and a column, both from 1.
type Position = (usize, usize);

/// The inside of a pair of braces, and whether it is that of an impl or a trait.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Braces {
    start: Position,
    end: Position,
    is_impl: bool,
}

/// Whether the attribute that is being expanded stands directly in an impl or a trait.
pub(crate) fn is_in_impl() -> bool {
    if !proc_macro::is_available() {
        return false;
    }
    thread_local! {
        static FILES: RefCell<HashMap<PathBuf, Vec<Braces>>> = RefCell::default();
    }
    let here = proc_macro::Span::call_site();
    let Some(file) = here.local_file() else { return false };
    let position = (here.line(), here.column());
    FILES.with_borrow_mut(|files| {
        let braces = files.entry(file).or_insert_with_key(|file| read(file));
        innermost(braces, position).is_some_and(|braces| braces.is_impl)
    })
}

fn innermost(braces: &[Braces], position: Position) -> Option<&Braces> {
    let around = braces.iter().filter(|braces| (braces.start..braces.end).contains(&position));
    around.max_by_key(|braces| braces.start)
}

/// All braces in a file; none if it cannot be read.
fn read(file: &Path) -> Vec<Braces> {
    let mut braces = Vec::new();
    if let Ok(text) = std::fs::read_to_string(file)
        && let Ok(tokens) = text.parse::<TokenStream>()
    {
        collect(tokens, &mut braces);
    }
    braces
}

fn collect(tokens: TokenStream, braces: &mut Vec<Braces>) {
    let mut head = Head::default();
    for token in tokens {
        match token {
            TokenTree::Group(group) => {
                let (open, close) = (group.span_open(), group.span_close());
                if group.delimiter() == Delimiter::Brace {
                    braces.push(Braces {
                        start: (open.line(), open.column()),
                        end: (close.line(), close.column()),
                        is_impl: head.is_impl(),
                    });
                    head = Head::default();
                }
                collect(group.stream(), braces);
            }
            TokenTree::Punct(punct) if punct.as_char() == ';' => head = Head::default(),
            TokenTree::Ident(ident) => head.read(&ident.to_string()),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

/// The words of an item up to its braces.
#[derive(Default)]
struct Head {
    /// The first that says what the item is.
    kind: Option<String>,
}

impl Head {
    fn read(&mut self, word: &str) {
        const BEFORE_THE_KIND: [&str; 5] = ["pub", "unsafe", "default", "auto", "const"];
        if self.kind.is_none() && !BEFORE_THE_KIND.contains(&word) {
            self.kind = Some(word.to_owned());
        }
    }

    fn is_impl(&self) -> bool {
        matches!(self.kind.as_deref(), Some("impl" | "trait"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_braces_count() {
        let braces = |start, end, is_impl| Braces { start, end, is_impl };
        let file =
            [braces((1, 1), (20, 1), true), braces((3, 5), (9, 5), false), braces((12, 5), (12, 30), true)];
        for (position, expected) in
            [((2, 1), Some(true)), ((4, 1), Some(false)), ((12, 10), Some(true)), ((30, 1), None)]
        {
            assert_eq!(innermost(&file, position).map(|it| it.is_impl), expected, "{position:?}");
        }
    }

    #[test]
    fn an_item_is_what_its_first_word_says() {
        for (words, expected) in [
            ("impl Display for Item", true),
            ("unsafe impl Send", true),
            ("pub trait Load", true),
            ("pub fn f impl Clone", false),
            ("mod tests", false),
            ("match x", false),
            ("", false),
        ] {
            let mut head = Head::default();
            words.split_whitespace().for_each(|word| head.read(word));
            assert_eq!(head.is_impl(), expected, "{words}");
        }
    }
}
