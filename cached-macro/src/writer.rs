//! `#[invalidates]` and `#[updates]`: what is done about cached entries when a function has succeeded.

mod expand;

use expand::Writer;
use proc_macro2::{Ident, Span, TokenStream};
use quote::quote;
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::{
    Attribute, Expr, ExprCall, ExprLit, ExprMethodCall, ExprPath, Lit, LitBool, Path, ReturnType, Token,
    Type, parse_quote,
};

use crate::errors::Errors;
use crate::plan::text;
use crate::signature::Function;

/// Which of the two attributes it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writes {
    Invalidates,
    Updates,
}

impl Writes {
    pub(crate) const fn attribute(self) -> &'static str {
        match self {
            Self::Invalidates => "invalidates",
            Self::Updates => "updates",
        }
    }

    /// What an attribute's path names, if it is one of these.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let name = &path.segments.last()?.ident;
        [Self::Invalidates, Self::Updates].into_iter().find(|it| name == it.attribute())
    }
}

/// What is changed.
enum Target {
    /// `get_user(id)`: one key of a function.
    Key(ExprCall),
    /// `list_users`: all keys of one.
    All(Path),
    /// `self.load_cache(id)`: one key of a method, by its handle.
    Method(ExprMethodCall),
    /// `Self::make_cache(id)`: the same without `self`.
    Associated(ExprCall),
    /// `tag("user:{id}")`, as the text of it.
    Tag(TokenStream),
}

/// The attribute as it is written.
struct Arguments {
    targets: Vec<Target>,
    before: bool,
    krate: Path,
}

const EXPECTED: &str = "expected what is to be changed: one key `get_user(id)`, all keys `list_users`, the handle of a \
     method `self.load_cache(id)`, or a `tag(\"user:{id}\")`";
const ONE_KEY: &str = "`#[updates]` stores what the function returns under one key, such as `get_user(id)` or `self.load_cache(id)`; \
     the rest is for `#[invalidates]`";

impl Arguments {
    fn parse(writes: Writes, arguments: TokenStream, errors: &mut Errors) -> Self {
        let mut parsed = Self { targets: Vec::new(), before: false, krate: parse_quote!(::cached_runtime) };
        let parser = |input: ParseStream<'_>| {
            while !input.is_empty() {
                parsed.parse_one(writes, input, errors)?;
                if !input.is_empty() {
                    input.parse::<Token![,]>()?;
                }
            }
            Ok(())
        };
        let has_failed = parser.parse2(arguments).map_err(|error| errors.add(error)).is_err();
        if parsed.targets.is_empty() && !has_failed && errors.is_empty() {
            let attribute = writes.attribute();
            errors.at_span(
                Span::call_site(),
                format!("`#[{attribute}]` names what it changes: `#[{attribute}(get_user(id))]`"),
            );
        }
        parsed
    }

    fn parse_one(&mut self, writes: Writes, input: ParseStream<'_>, errors: &mut Errors) -> syn::Result<()> {
        if input.peek(Ident::peek_any) {
            let ahead = input.fork();
            let name = ahead.call(Ident::parse_any)?;
            let is_option = ahead.is_empty() || ahead.peek(Token![,]) || ahead.peek(Token![=]);
            if name == "before" && is_option {
                let name = input.call(Ident::parse_any)?;
                self.before = if input.parse::<Option<Token![=]>>()?.is_some() {
                    input.parse::<LitBool>()?.value
                } else {
                    true
                };
                if writes == Writes::Updates {
                    errors.at(
                        &name,
                        "before the body there is nothing to store yet: `before` is for `#[invalidates]`",
                    );
                }
                return Ok(());
            }
            if name == "crate" && ahead.peek(Token![=]) {
                input.call(Ident::parse_any)?;
                input.parse::<Token![=]>()?;
                self.krate = input.parse()?;
                return Ok(());
            }
        }
        let written: Expr = input.parse()?;
        match target(written.clone()) {
            Ok(Target::All(_) | Target::Tag(_)) if writes == Writes::Updates => errors.at(written, ONE_KEY),
            Ok(target) => self.targets.push(target),
            Err(error) => errors.add(error),
        }
        Ok(())
    }
}

const NOT_THE_CALL: &str = "name what is cached, without what is done to it: `get_user(id)`, `list_users`, \
     `self.load_cache(id)`";

/// The companion's, or a handle's, own calls.
fn is_call_of_ours(name: &Ident) -> bool {
    ["invalidate", "clear", "put", "refresh"].iter().any(|call| name == call)
}

fn target(expression: Expr) -> syn::Result<Target> {
    let last = |path: &ExprPath| match &path.path.segments {
        segments if segments.len() > 1 => segments.last().map(|it| it.ident.clone()),
        _ => None,
    };
    let name = match &expression {
        Expr::MethodCall(call) => Some(call.method.clone()),
        Expr::Path(path) => last(path),
        Expr::Call(call) => match &*call.func {
            Expr::Path(path) => last(path),
            _ => None,
        },
        _ => None,
    };
    if let Some(name) = name.filter(is_call_of_ours) {
        return Err(syn::Error::new_spanned(name, NOT_THE_CALL));
    }
    match expression {
        Expr::Path(ExprPath { qself: None, path, .. }) => Ok(Target::All(path)),
        Expr::MethodCall(call) => Ok(Target::Method(call)),
        Expr::Call(call) => match &*call.func {
            Expr::Path(ExprPath { qself: None, path, .. }) if path.is_ident("tag") => tag(&call),
            Expr::Path(function) if is_associated(function) => Ok(Target::Associated(call)),
            Expr::Path(_) => Ok(Target::Key(call)),
            other => Err(syn::Error::new_spanned(other, EXPECTED)),
        },
        other => Err(syn::Error::new_spanned(other, EXPECTED)),
    }
}

/// Whether a path is that of a function of a type: such a name begins with a capital.
fn is_associated(function: &ExprPath) -> bool {
    let segments = &function.path.segments;
    let of = segments.iter().rev().nth(1).map(|segment| segment.ident.unraw().to_string());
    function.qself.is_some() || of.is_some_and(|name| name.starts_with(char::is_uppercase))
}

/// A text with arguments in it, or anything that can be displayed.
fn tag(call: &ExprCall) -> syn::Result<Target> {
    let parts: Vec<_> = call.args.iter().cloned().collect();
    match &parts[..] {
        [] => Err(syn::Error::new_spanned(&call.func, "a tag is a text: `tag(\"user:{id}\")`")),
        [first, ..] if is_text(first) => Ok(Target::Tag(text(&parts))),
        [_] => Ok(Target::Tag(text(&parts))),
        [_, second, ..] => {
            Err(syn::Error::new_spanned(second, "one tag at a time: `tag(\"a\"), tag(\"b\")`"))
        }
    }
}

fn is_text(expression: &Expr) -> bool {
    matches!(expression, Expr::Lit(ExprLit { lit: Lit::Str(_), .. }))
}

/// The attribute: the function with what is to be done around its body.
pub(crate) fn attribute(
    writes: Writes,
    arguments: &TokenStream,
    function: Function,
) -> Result<TokenStream, Errors> {
    let mut errors = Errors::default();
    let Arguments { targets, before, krate } = Arguments::parse(writes, arguments.clone(), &mut errors);
    check(writes, &function, &mut errors);
    if !errors.is_empty() {
        return Err(errors);
    }
    // The attribute that is expanded last acts last; a value that was just stored must not be forgotten again.
    let is_overtaken = |it: &Attribute| Writes::of(it.path()) == Some(Writes::Invalidates);
    if writes == Writes::Updates && function.attributes.iter().any(is_overtaken) {
        let Function { attributes, visibility, signature, body } = function;
        return Ok(quote!(#(#attributes)* #[#krate::updates(#arguments)] #visibility #signature #body));
    }
    Ok(Writer { writes, targets, before, krate, function }.expand())
}

fn check(writes: Writes, function: &Function, errors: &mut Errors) {
    let attribute = writes.attribute();
    let signature = &function.signature;
    if let Some(constness) = &signature.constness {
        errors.at(constness, format!("a `const fn` cannot have `#[{attribute}]`: it may run at compile time, where there is no store"));
    }
    if function.body.is_none() {
        errors.at(signature, format!("a function without a body does nothing after which something could be done: put `#[{attribute}]` on the methods of the impls"));
    }
    if let ReturnType::Type(_, ty) = &signature.output
        && let Type::Never(_) = **ty
    {
        errors.at(ty, "a function that never returns never succeeds");
    }
    let cached = function
        .attributes
        .iter()
        .find(|it| it.path().segments.last().is_some_and(|it| it.ident == "cached"));
    if let Some(cached) = cached {
        errors.at(cached, NOT_CACHED);
    }
}

pub(crate) const NOT_CACHED: &str = "a function that is cached does not run its body at each call, so that it cannot be \
     relied on to change anything: take the writing part out of it, with `#[invalidates]` or `#[updates]` on that";
