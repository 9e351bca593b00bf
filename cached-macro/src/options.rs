//! The attribute as it is written: options with their spans, nothing decided yet.

use std::time::Duration;

use proc_macro2::{Ident, TokenStream};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::{Expr, ExprLit, ExprUnary, Lit, LitStr, Path, Token, UnOp, parenthesized};

use crate::errors::{Errors, nearest};

/// An option that was given: its name, for errors that concern it, and its value.
pub(crate) struct Given<T> {
    pub(crate) name: Ident,
    pub(crate) value: T,
}

/// A length of time.
pub(crate) enum Time {
    /// `300`, `"5m"`
    Literal(Duration),
    /// `|v| v.max_age()`
    Closure(Expr),
    /// Any other expression.
    Expression(Expr),
}

#[derive(Default)]
pub(crate) struct Options {
    pub(crate) timeout: Option<Given<Time>>,
    pub(crate) idle_timeout: Option<Given<Time>>,
    pub(crate) negative_timeout: Option<Given<Time>>,
    pub(crate) jitter: Option<Given<u8>>,
    pub(crate) capacity: Option<Given<Expr>>,
    pub(crate) weigh: Option<Given<Expr>>,
    pub(crate) skip: Option<Given<Vec<Ident>>>,
    pub(crate) key: Option<Given<Expr>>,
    pub(crate) name: Option<Given<LitStr>>,
    pub(crate) cache_err: Option<Given<bool>>,
    pub(crate) cache_none: Option<Given<bool>>,
    pub(crate) cache_if: Option<Given<Expr>>,
    pub(crate) bypass_if: Option<Given<Expr>>,
    pub(crate) refresh_if: Option<Given<Expr>>,
    pub(crate) single_flight: Option<Given<bool>>,
    pub(crate) handle: Option<Given<Ident>>,
    pub(crate) krate: Option<Given<Path>>,
}

const AVAILABLE: [&str; 17] = [
    "timeout",
    "idle_timeout",
    "negative_timeout",
    "jitter",
    "capacity",
    "weigh",
    "skip",
    "key",
    "name",
    "cache_err",
    "cache_none",
    "cache_if",
    "bypass_if",
    "refresh_if",
    "single_flight",
    "handle",
    "crate",
];

const NOT_YET_AVAILABLE: [&str; 12] = [
    "backend",
    "local_timeout",
    "version",
    "stale_while_revalidate",
    "stale_if_error",
    "error_backoff",
    "refresh_ahead",
    "tags",
    "lease",
    "max_wait",
    "revalidate",
    "codec",
];

impl Options {
    /// Reads the attribute's arguments; what cannot be read is noted and passed over.
    pub(crate) fn parse(arguments: TokenStream, errors: &mut Errors) -> Self {
        let mut options = Self::default();
        let parser = |input: ParseStream<'_>| {
            while !input.is_empty() {
                if let Err(error) = options.parse_one(input, errors) {
                    errors.add(error);
                    skip_to_comma(input);
                }
                if !input.is_empty() && input.parse::<Token![,]>().is_err() {
                    errors.add(input.error("expected `,` between options"));
                    skip_to_comma(input);
                    let _ = input.parse::<Token![,]>();
                }
            }
            Ok(())
        };
        if let Err(error) = parser.parse2(arguments) {
            errors.add(error);
        }
        options
    }

    fn parse_one(&mut self, input: ParseStream<'_>, errors: &mut Errors) -> syn::Result<()> {
        if input.peek(Lit) {
            let value: Lit = input.parse()?;
            let message =
                format!("an option has a name: did you mean `timeout = {}`?", value.to_token_stream());
            return Err(syn::Error::new_spanned(value, message));
        }
        if !input.peek(Ident::peek_any) {
            return Err(input.error("expected an option, such as `timeout = 300`"));
        }
        let name = input.call(Ident::parse_any)?;
        match name.to_string().as_str() {
            "timeout" => set(&mut self.timeout, name, input, errors, time),
            "idle_timeout" => set(&mut self.idle_timeout, name, input, errors, time_of_all),
            "negative_timeout" => set(&mut self.negative_timeout, name, input, errors, time_of_all),
            "jitter" => set(&mut self.jitter, name, input, errors, percent),
            "capacity" => set(&mut self.capacity, name, input, errors, capacity),
            "weigh" => set(&mut self.weigh, name, input, errors, expression),
            "skip" => set(&mut self.skip, name, input, errors, names),
            "key" => set(&mut self.key, name, input, errors, expression),
            "name" => set(&mut self.name, name, input, errors, identity),
            "cache_err" => set(&mut self.cache_err, name, input, errors, flag),
            "cache_none" => set(&mut self.cache_none, name, input, errors, flag),
            "cache_if" => set(&mut self.cache_if, name, input, errors, expression),
            "bypass_if" => set(&mut self.bypass_if, name, input, errors, expression),
            "refresh_if" => set(&mut self.refresh_if, name, input, errors, expression),
            "single_flight" => set(&mut self.single_flight, name, input, errors, flag),
            "handle" => set(&mut self.handle, name, input, errors, handle),
            "crate" => set(&mut self.krate, name, input, errors, path),
            other => {
                errors.at(&name, unknown(other));
                // Its value is nobody's fault.
                skip_to_comma(input);
                Ok(())
            }
        }
    }
}

fn unknown(name: &str) -> String {
    if NOT_YET_AVAILABLE.contains(&name) {
        return format!("`{name}` is not available yet in this version of cached-runtime");
    }
    match nearest(name, AVAILABLE.into_iter().chain(NOT_YET_AVAILABLE)) {
        Some(near) => format!("unknown option `{name}`; did you mean `{near}`?"),
        None => format!(
            "unknown option `{name}`; the options are {}",
            AVAILABLE.map(|it| format!("`{it}`")).join(", ")
        ),
    }
}

/// Reads the value of an option into its place, if nothing is there yet.
fn set<T>(
    place: &mut Option<Given<T>>,
    name: Ident,
    input: ParseStream<'_>,
    errors: &mut Errors,
    read: fn(&Ident, ParseStream<'_>) -> syn::Result<T>,
) -> syn::Result<()> {
    let value = read(&name, input)?;
    if place.is_some() {
        errors.at(&name, format!("`{name}` is given twice"));
    } else {
        *place = Some(Given { name, value });
    }
    Ok(())
}

fn skip_to_comma(input: ParseStream<'_>) {
    while !input.is_empty() && !input.peek(Token![,]) {
        let _ = input.parse::<proc_macro2::TokenTree>();
    }
}

/// `= EXPRESSION`
fn expression(name: &Ident, input: ParseStream<'_>) -> syn::Result<Expr> {
    if !input.peek(Token![=]) {
        return Err(syn::Error::new_spanned(
            name,
            format!("`{name}` needs a value: `{name} = {}`", example(name)),
        ));
    }
    input.parse::<Token![=]>()?;
    if input.is_empty() || input.peek(Token![,]) {
        return Err(syn::Error::new_spanned(
            name,
            format!("`{name}` needs a value: `{name} = {}`", example(name)),
        ));
    }
    input.parse()
}

fn example(name: &Ident) -> &'static str {
    match name.to_string().as_str() {
        "timeout" | "idle_timeout" | "negative_timeout" => "\"5m\"",
        "jitter" => "\"10%\"",
        "capacity" => "10_000",
        "weigh" => "|v| v.len()",
        "key" => "(id, name)",
        "name" => "\"catalog.item\"",
        "cache_if" => "|v| v.is_complete()",
        "handle" => "NAME",
        "crate" => "path::to::cached_runtime",
        _ => "condition",
    }
}

/// An expression without the groups and parentheses around it.
fn bare(expression: &Expr) -> &Expr {
    match expression {
        Expr::Paren(inner) => bare(&inner.expr),
        Expr::Group(inner) => bare(&inner.expr),
        other => other,
    }
}

const ZERO: &str = "a timeout of 0 means \"never cached\" to some systems and \"cached for ever\" to others; \
     leave the option out for no timeout, or use `bypass_if` not to cache";

fn time(name: &Ident, input: ParseStream<'_>) -> syn::Result<Time> {
    let expression = expression(name, input)?;
    let error = |message: String| Err(syn::Error::new_spanned(&expression, message));
    match bare(&expression) {
        Expr::Closure(_) => Ok(Time::Closure(expression)),
        Expr::Lit(ExprLit { lit: Lit::Int(seconds), .. }) => match seconds.base10_parse::<u64>() {
            Ok(0) => error(ZERO.to_owned()),
            Ok(seconds) => Ok(Time::Literal(Duration::from_secs(seconds))),
            Err(_) => error(format!("`{name}` is a number of seconds that fits into a `u64`")),
        },
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => match humantime::parse_duration(&text.value()) {
            Ok(Duration::ZERO) => error(ZERO.to_owned()),
            Ok(duration) => Ok(Time::Literal(duration)),
            Err(_) => error(format!(
                "{} is not a length of time; write one as \"300ms\", \"90s\", \"5m\", \"1h 30m\" or \"2 days\"",
                text.to_token_stream()
            )),
        },
        Expr::Lit(ExprLit { lit: Lit::Float(_), .. }) => error(format!(
            "`{name}` takes whole seconds; for parts of a second write a string such as \"1500ms\""
        )),
        Expr::Unary(ExprUnary { op: UnOp::Neg(_), .. }) => error(format!("`{name}` cannot be negative")),
        Expr::Lit(_) => error(format!(
            "`{name}` is a number of seconds, a string such as \"5m\", or an expression of type `Duration`"
        )),
        _ => Ok(Time::Expression(expression)),
    }
}

/// A time that holds for all values.
fn time_of_all(name: &Ident, input: ParseStream<'_>) -> syn::Result<Time> {
    match time(name, input)? {
        Time::Closure(closure) => {
            let message =
                format!("`{name}` is the same for all values; only `timeout` can be computed from the value");
            Err(syn::Error::new_spanned(closure, message))
        }
        time => Ok(time),
    }
}

fn percent(name: &Ident, input: ParseStream<'_>) -> syn::Result<u8> {
    let expression = expression(name, input)?;
    let text = match bare(&expression) {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => text.value(),
        _ => String::new(),
    };
    let number = text.strip_suffix('%').and_then(|number| number.trim().parse::<u8>().ok());
    number.filter(|number| (1..=100).contains(number)).ok_or_else(|| {
        syn::Error::new_spanned(&expression, "`jitter` is a share of the timeout from \"1%\" to \"100%\"")
    })
}

fn capacity(name: &Ident, input: ParseStream<'_>) -> syn::Result<Expr> {
    let expression = expression(name, input)?;
    let error = |message: &str| Err(syn::Error::new_spanned(&expression, message));
    match bare(&expression) {
        Expr::Lit(ExprLit { lit: Lit::Int(number), .. }) => match number.base10_parse::<u64>() {
            Ok(0) => {
                error("a capacity of 0 would store nothing; to switch caching off use `bypass_if = true`")
            }
            Ok(_) => Ok(expression),
            Err(_) => error("`capacity` is a number of entries that fits into a `usize`"),
        },
        Expr::Lit(_) | Expr::Unary(ExprUnary { op: UnOp::Neg(_), .. }) | Expr::Closure(_) => {
            error("`capacity` is a number of entries, such as `10_000`, or a constant of type `usize`")
        }
        _ => Ok(expression),
    }
}

fn flag(name: &Ident, input: ParseStream<'_>) -> syn::Result<bool> {
    if !input.peek(Token![=]) {
        return Ok(true);
    }
    let expression = expression(name, input)?;
    match bare(&expression) {
        Expr::Lit(ExprLit { lit: Lit::Bool(value), .. }) => Ok(value.value),
        _ => Err(syn::Error::new_spanned(&expression, format!("`{name}` is `true` or `false`"))),
    }
}

fn identity(name: &Ident, input: ParseStream<'_>) -> syn::Result<LitStr> {
    let expression = expression(name, input)?;
    match bare(&expression) {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) if !text.value().trim().is_empty() => Ok(text.clone()),
        _ => Err(syn::Error::new_spanned(&expression, "`name` is a string such as \"catalog.item\"")),
    }
}

fn handle(name: &Ident, input: ParseStream<'_>) -> syn::Result<Ident> {
    let expression = expression(name, input)?;
    syn::parse2(expression.to_token_stream()).map_err(|_| {
        syn::Error::new_spanned(&expression, "`handle` is a name, such as `handle = item_cache`")
    })
}

fn path(name: &Ident, input: ParseStream<'_>) -> syn::Result<Path> {
    // `crate` itself is no expression.
    input.parse::<Token![=]>().map_err(|_| {
        syn::Error::new_spanned(name, format!("`{name}` needs a value: `{name} = {}`", example(name)))
    })?;
    input.call(Path::parse_mod_style)
}

/// `(a, b)`
fn names(name: &Ident, input: ParseStream<'_>) -> syn::Result<Vec<Ident>> {
    if !input.peek(syn::token::Paren) {
        if input.peek(Token![=]) {
            skip_to_comma(input);
        }
        return Err(syn::Error::new_spanned(name, "`skip` names arguments: `skip(db, self)`"));
    }
    let content;
    parenthesized!(content in input);
    let names = content.parse_terminated(|input| input.call(Ident::parse_any), Token![,])?;
    if names.is_empty() {
        return Err(syn::Error::new_spanned(name, "`skip` names at least one argument: `skip(db, self)`"));
    }
    Ok(names.into_iter().collect())
}
