//! Whatever a user mistypes, the macro answers with tokens that are Rust, and never panics.

use proc_macro2::{Group, Ident, Literal, Punct, Spacing, Span, TokenStream, TokenTree};

use crate::enclosing::Place;
use crate::writer::Writes;
use crate::{attribute, writer};

const ATTRIBUTES: &[&str] = &[
    "",
    "timeout = 300",
    "timeout = \"5m\", idle_timeout = Duration::from_secs(60), jitter = \"10%\"",
    "timeout = |v| v.max_age(), capacity = 10_000, weigh = |v| v.len()",
    "skip(db, self), name = \"catalog.item\", single_flight = false",
    "key = (self.id, name.to_lowercase()), handle = item_cache",
    "cache_err, cache_none = false, negative_timeout = 5, cache_if = |v| *v > 3",
    "bypass_if = id == 0, refresh_if = force, crate = crate::reexport, tags(\"user:{id}\", lang)",
    "timeout = 60, stale_while_revalidate = \"1m\", stale_if_error = 60, error_backoff = \"1s\", max_wait = \"50ms\"",
    "timeout = 60, refresh_ahead = 0.8, revalidate = \"inline\", skip(self)",
];

const WRITERS: &[&str] = &[
    "users::get(id), list_users, tag(\"user:{id}\"), before",
    "self.load_cache(&name, self.id), Self::make_cache(a.b), crate = crate::reexport, before = false",
    "show::<u8>(*id), <Repo>::make(), tag(name)",
];

const FUNCTIONS: &[&str] = &[
    "pub fn item(id: u64, lang: &str) -> Result<Item, Error> { load(id, lang)? }",
    "async fn item<T: Key, const N: usize>(mut a: T, (b, _): (u8, [u8; N]), _: u8) -> Option<T> where T: Clone { None }",
    "fn load(&self, #[cfg(unix)] db: &impl Db, r#type: Cow<'_, str>) -> Self { todo!() }",
    "unsafe extern \"C\" fn f(self: Arc<Self>, x: &mut u8) -> impl Fn() { }",
    "const fn f<'a>(x: &'a str, ...) -> &'a str;",
];

/// A generator of numbers (Marsaglia, 2003); the seed is fixed, so that a failure comes again.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap_or(0) % limit.max(1)
    }
}

fn strange(random: &mut Random) -> TokenTree {
    let word = |word| TokenTree::Ident(Ident::new(word, Span::call_site()));
    match random.below(12) {
        0 => Punct::new('=', Spacing::Alone).into(),
        1 => Punct::new(',', Spacing::Alone).into(),
        2 => Punct::new('|', Spacing::Alone).into(),
        3 => Punct::new('&', Spacing::Joint).into(),
        4 => Literal::f64_unsuffixed(1.5).into(),
        5 => Literal::u128_unsuffixed(u128::MAX).into(),
        6 => Literal::string("0s").into(),
        7 => Group::new(proc_macro2::Delimiter::Parenthesis, TokenStream::new()).into(),
        8 => word("self"),
        9 => word("crate"),
        10 => word("timeout"),
        _ => word("_"),
    }
}

/// Deletes, doubles, swaps or inserts a token, here or in a group.
fn mutate(tokens: TokenStream, random: &mut Random) -> TokenStream {
    let mut tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let at = random.below(tokens.len());
    if let Some(TokenTree::Group(group)) = tokens.get(at)
        && random.below(3) > 0
    {
        tokens[at] = Group::new(group.delimiter(), mutate(group.stream(), random)).into();
        return tokens.into_iter().collect();
    }
    match random.below(4) {
        0 if !tokens.is_empty() => drop(tokens.remove(at)),
        1 if !tokens.is_empty() => tokens.insert(at, tokens[at].clone()),
        2 if at > 0 => tokens.swap(at, at - 1),
        _ => tokens.insert(at, strange(random)),
    }
    tokens.into_iter().collect()
}

fn parse(text: &str) -> TokenStream {
    text.parse().expect("it is tokens")
}

/// What becomes of an attribute and a function, in several places.
type Expand = fn(&TokenStream, &TokenStream) -> Vec<TokenStream>;

/// Every attribute with what expands it.
fn attributes() -> impl Iterator<Item = (&'static str, Expand)> {
    let cached: Expand = |arguments, function| {
        let places = [|| None, || Some(Place::Outside), || Some(Place::Impl), || Some(Place::Trait)];
        places.map(|place| attribute(arguments, function, place)).into()
    };
    let writers: Expand = |arguments, function| {
        [Writes::Invalidates, Writes::Updates].map(|writes| writer(writes, arguments, function)).into()
    };
    let with = |expand| move |attribute: &&'static str| (*attribute, expand);
    ATTRIBUTES.iter().map(with(cached)).chain(WRITERS.iter().map(with(writers)))
}

/// Expands, and checks what every expansion must be.
fn check(expand: Expand, arguments: &TokenStream, function: &TokenStream, function_is_rust: bool) {
    for expansion in expand(arguments, function) {
        let refused = expansion.to_string().contains("compile_error");
        if refused {
            let rest = expansion.to_string();
            assert!(rest.starts_with(&function.to_string()), "#[…({arguments})] {function} became {rest}");
        }
        if function_is_rust {
            let file = syn::parse2::<syn::File>(expansion.clone());
            let methods = syn::parse_str::<syn::File>(&format!("impl A {{ {expansion} }}"));
            assert!(file.is_ok() || methods.is_ok(), "#[…({arguments})] {function} became {expansion}");
        }
    }
}

#[test]
fn a_mutated_attribute_is_an_expansion_or_errors() {
    let mut random = Random(0x1234_5678_9abc_def1);
    for function in FUNCTIONS.iter().take(3) {
        let function = parse(function);
        for (attribute, expand) in attributes() {
            for _ in 0..100 {
                let mut arguments = parse(attribute);
                for _ in 0..=random.below(3) {
                    arguments = mutate(arguments, &mut random);
                }
                check(expand, &arguments, &function, true);
            }
        }
    }
}

#[test]
fn a_mutated_function_is_an_expansion_or_errors() {
    let mut random = Random(0x0fed_cba9_8765_4321);
    for function in FUNCTIONS {
        for (attribute, expand) in attributes() {
            let arguments = parse(attribute);
            for _ in 0..50 {
                check(expand, &arguments, &mutate(parse(function), &mut random), false);
            }
        }
    }
}
