//! The attribute as it is written: options with their spans, nothing decided yet.

use std::time::Duration;

use proc_macro2::{Ident, TokenStream, TokenTree};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream, Parser};
use syn::{Expr, ExprLit, ExprUnary, Lit, LitFloat, LitStr, Path, Token, UnOp, parenthesized};

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

/// Who computes a value anew that is still served.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Revalidate {
    Background,
    /// One of the callers.
    Inline,
}

/// When a value that is still fresh is computed anew.
pub(crate) enum RefreshAhead {
    /// From this part of the timeout on.
    Part(LitFloat),
    XFetch,
}

/// Where the backend of a function is.
pub(crate) enum Backend {
    /// `"redis://…"`
    Url(LitStr),
    /// A static.
    Static(Path),
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
    pub(crate) stale_while_revalidate: Option<Given<Time>>,
    pub(crate) revalidate: Option<Given<Revalidate>>,
    pub(crate) refresh_ahead: Option<Given<RefreshAhead>>,
    pub(crate) max_wait: Option<Given<Time>>,
    pub(crate) stale_if_error: Option<Given<Time>>,
    pub(crate) error_backoff: Option<Given<Time>>,
    pub(crate) backend: Option<Given<Backend>>,
    pub(crate) local_timeout: Option<Given<Time>>,
    pub(crate) version: Option<Given<Expr>>,
    pub(crate) codec: Option<Given<Path>>,
    pub(crate) lease: Option<Given<Time>>,
    pub(crate) save: Option<Given<bool>>,
    pub(crate) tags: Option<Given<Vec<Expr>>>,
    pub(crate) handle: Option<Given<Ident>>,
    pub(crate) krate: Option<Given<Path>>,
}

const AVAILABLE: [&str; 30] = [
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
    "stale_while_revalidate",
    "revalidate",
    "stale_if_error",
    "error_backoff",
    "refresh_ahead",
    "max_wait",
    "backend",
    "local_timeout",
    "version",
    "codec",
    "lease",
    "save",
    "tags",
    "handle",
    "crate",
];

impl Options {
    /// Reads the attribute's arguments; what cannot be read is noted and passed over.
    pub(crate) fn parse(arguments: TokenStream, errors: &mut Errors) -> Self {
        let mut options = Self::default();
        let parser = |input: ParseStream<'_>| {
            while !input.is_empty() {
                if let Err(error) = options.parse_one(input, errors) {
                    errors.add(error);
                    rest(input);
                }
                if !input.is_empty() && input.parse::<Token![,]>().is_err() {
                    errors.add(input.error("expected `,` between options"));
                    rest(input);
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

    /// The option, if there is one, that has values computed in the background.
    pub(crate) fn in_background(&self) -> Option<&Ident> {
        let is_inline = self.revalidate.as_ref().is_some_and(|it| it.value == Revalidate::Inline);
        let revalidated = self.stale_while_revalidate.as_ref().map(|it| &it.name);
        let ahead = self.refresh_ahead.as_ref().map(|it| &it.name);
        let waits = self.max_wait.as_ref().map(|it| &it.name);
        revalidated.or(ahead).or(waits).filter(|_| !is_inline)
    }

    /// Whether values may be served that are not simply fresh.
    pub(crate) fn serve_ahead(&self) -> bool {
        self.stale_while_revalidate.is_some() || self.stale_if_error.is_some() || self.refresh_ahead.is_some()
    }

    fn parse_one(&mut self, input: ParseStream<'_>, errors: &mut Errors) -> syn::Result<()> {
        if input.peek(Lit) {
            let value: Lit = input.parse()?;
            let message = match (&value, as_time(&value)) {
                (_, Some(time)) => format!("an option has a name: did you mean `timeout = \"{time}\"`?"),
                (Lit::Int(number), _) if number.suffix().is_empty() => {
                    format!("an option has a name: did you mean `timeout = {number}`?")
                }
                _ => "an option has a name, such as `timeout = \"5m\"`".to_owned(),
            };
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
            "key" => set(&mut self.key, name, input, errors, key),
            "name" => set(&mut self.name, name, input, errors, identity),
            "cache_err" => set(&mut self.cache_err, name, input, errors, flag),
            "cache_none" => set(&mut self.cache_none, name, input, errors, flag),
            "cache_if" => set(&mut self.cache_if, name, input, errors, expression),
            "bypass_if" => set(&mut self.bypass_if, name, input, errors, expression),
            "refresh_if" => set(&mut self.refresh_if, name, input, errors, expression),
            "single_flight" => set(&mut self.single_flight, name, input, errors, flag),
            "stale_while_revalidate" => {
                set(&mut self.stale_while_revalidate, name, input, errors, time_of_all)
            }
            "revalidate" => set(&mut self.revalidate, name, input, errors, revalidate),
            "stale_if_error" => set(&mut self.stale_if_error, name, input, errors, time_of_all),
            "error_backoff" => set(&mut self.error_backoff, name, input, errors, time_of_all),
            "refresh_ahead" => set(&mut self.refresh_ahead, name, input, errors, refresh_ahead),
            "max_wait" => set(&mut self.max_wait, name, input, errors, time_of_all),
            "backend" => set(&mut self.backend, name, input, errors, backend),
            "local_timeout" => set(&mut self.local_timeout, name, input, errors, time_of_all),
            "version" => set(&mut self.version, name, input, errors, version),
            "codec" => set(&mut self.codec, name, input, errors, codec),
            "lease" => set(&mut self.lease, name, input, errors, time_of_all),
            "save" => set(&mut self.save, name, input, errors, flag),
            "tags" => set(&mut self.tags, name, input, errors, tags),
            "handle" => set(&mut self.handle, name, input, errors, handle),
            "crate" => set(&mut self.krate, name, input, errors, path),
            other => {
                errors.at(&name, unknown(other));
                // Its value is nobody's fault.
                rest(input);
                Ok(())
            }
        }
    }
}

fn unknown(name: &str) -> String {
    let lower = name.to_lowercase();
    if let Some(near) = meant(&lower) {
        return format!("unknown option `{name}`; did you mean `{near}`?");
    }
    let options = AVAILABLE.map(|it| format!("`{it}`")).join(", ");
    format!("unknown option `{name}`; the options are {options}")
}

/// The option that others call by this name, or that is spelled nearly so.
fn meant(name: &str) -> Option<&'static str> {
    match name {
        "ttl" | "ttl_secs" | "time" | "time_to_live" | "max_age" | "expire" | "expires" | "expiry" => {
            Some("timeout")
        }
        "tti" | "time_to_idle" => Some("idle_timeout"),
        "size" | "max_size" | "max_entries" | "max_capacity" => Some("capacity"),
        _ => nearest(name, AVAILABLE),
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

/// `=`, with a value after it.
fn equals(name: &Ident, input: ParseStream<'_>) -> syn::Result<()> {
    let ends = |input: ParseStream<'_>| input.is_empty() || input.peek(Token![,]);
    let error = |message: &str| {
        let message = format!("`{name}` {message}: `{name} = {}`", example(name));
        Err(syn::Error::new_spanned(name, message))
    };
    if !ends(input) && (!input.peek(Token![=]) || input.peek(Token![==]) || input.peek(Token![=>])) {
        return error("takes its value after a `=`");
    }
    let _ = input.parse::<Token![=]>();
    if ends(input) { error("needs a value") } else { Ok(()) }
}

/// `= EXPRESSION`
fn expression(name: &Ident, input: ParseStream<'_>) -> syn::Result<Expr> {
    equals(name, input)?;
    let expression = input.parse()?;
    if let Expr::Lit(ExprLit { lit, .. }) = bare(&expression)
        && has_unit(lit)
    {
        let is_time = takes_time(name);
        let time = as_time(lit).filter(|_| is_time);
        let example = time.map_or_else(|| example(name).to_owned(), |time| format!("\"{time}\""));
        let what = if matches!(lit, Lit::Str(_)) { "a string has no suffix" } else { "a number has no unit" };
        let message = format!("{what}: write `{name} = {example}`");
        return Err(syn::Error::new_spanned(expression, message));
    }
    Ok(expression)
}

fn takes_time(name: &Ident) -> bool {
    let name = name.to_string();
    name.ends_with("timeout")
        || matches!(
            name.as_str(),
            "lease" | "stale_while_revalidate" | "stale_if_error" | "error_backoff" | "max_wait"
        )
}

/// Whether something stands behind a literal that is no type of Rust's, as in `5m`.
fn has_unit(literal: &Lit) -> bool {
    const TYPES: [&str; 13] =
        ["", "u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64", "i128", "isize"];
    match literal {
        Lit::Int(number) => !TYPES.contains(&number.suffix()),
        Lit::Str(text) => !text.suffix().is_empty(),
        _ => false,
    }
}

/// A literal with a unit as the text of a length of time.
fn as_time(literal: &Lit) -> Option<String> {
    let text = match literal {
        Lit::Int(number) => format!("{}{}", number.base10_digits(), number.suffix()),
        Lit::Str(text) => text.value(),
        _ => return None,
    };
    humantime::parse_duration(&text).is_ok_and(|time| !time.is_zero()).then_some(text)
}

/// What is left of a value.
fn rest(input: ParseStream<'_>) -> TokenStream {
    let mut rest = TokenStream::new();
    while !input.is_empty() && !input.peek(Token![,]) {
        rest.extend(input.parse::<TokenTree>());
    }
    rest
}

fn example(name: &Ident) -> &'static str {
    match name.to_string().as_str() {
        "timeout" | "idle_timeout" | "negative_timeout" => "\"5m\"",
        "local_timeout" => "\"5s\"",
        "lease" => "\"10s\"",
        "stale_while_revalidate" => "\"1m\"",
        "revalidate" => "\"inline\"",
        "stale_if_error" => "\"1h\"",
        "error_backoff" => "\"1s\"",
        "refresh_ahead" => "0.8",
        "max_wait" => "\"50ms\"",
        "backend" => "PAGES",
        "version" => "2",
        "codec" => "json",
        "jitter" => "\"10%\"",
        "capacity" => "10_000",
        "weigh" => "|v| v.len()",
        "key" => "(id, name)",
        "name" => "\"catalog.item\"",
        "cache_if" => "|v| v.is_complete()",
        "handle" => "NAME",
        "crate" => "path::to::cached_runtime",
        "cache_err" | "cache_none" | "save" => "true",
        "single_flight" => "false",
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

fn zero(name: &Ident) -> String {
    let otherwise = match name.to_string().as_str() {
        "timeout" | "idle_timeout" => return ZERO.to_owned(),
        "negative_timeout" => "leave `cache_err` or `cache_none` out for none of these to be stored",
        "local_timeout" => "leave the option out for each call to ask the backend",
        "lease" => "leave the option out for processes not to wait for one another",
        _ => "leave the option out if there is to be none",
    };
    format!("`{name}` must be longer than zero; {otherwise}")
}

fn time(name: &Ident, input: ParseStream<'_>) -> syn::Result<Time> {
    let expression = expression(name, input)?;
    let error = |message: String| Err(syn::Error::new_spanned(&expression, message));
    match bare(&expression) {
        Expr::Closure(_) => Ok(Time::Closure(expression)),
        Expr::Lit(ExprLit { lit: Lit::Int(seconds), .. }) => match seconds.base10_parse::<u64>() {
            Ok(0) => error(zero(name)),
            Ok(seconds) => Ok(Time::Literal(Duration::from_secs(seconds))),
            Err(_) => error(format!("`{name}` is a number of seconds that fits into a `u64`")),
        },
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => match humantime::parse_duration(&text.value()) {
            Ok(Duration::ZERO) => error(zero(name)),
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

fn revalidate(name: &Ident, input: ParseStream<'_>) -> syn::Result<Revalidate> {
    let expression = expression(name, input)?;
    let text = match bare(&expression) {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => text.value(),
        _ => String::new(),
    };
    match text.as_str() {
        "background" => Ok(Revalidate::Background),
        "inline" => Ok(Revalidate::Inline),
        _ => Err(syn::Error::new_spanned(
            &expression,
            "`revalidate` is \"background\", which is usual, or \"inline\", for one of the callers to compute",
        )),
    }
}

fn refresh_ahead(name: &Ident, input: ParseStream<'_>) -> syn::Result<RefreshAhead> {
    let expression = expression(name, input)?;
    match bare(&expression) {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) if text.value() == "xfetch" => {
            return Ok(RefreshAhead::XFetch);
        }
        Expr::Lit(ExprLit { lit: Lit::Float(part), .. }) => {
            let is_part = part.base10_parse::<f64>().is_ok_and(|part| (1e-6..1.0).contains(&part));
            if is_part && matches!(part.suffix(), "" | "f64") {
                return Ok(RefreshAhead::Part(part.clone()));
            }
        }
        _ => {}
    }
    Err(syn::Error::new_spanned(
        &expression,
        "`refresh_ahead` is a part of the timeout between 0 and 1, such as `0.8`, or \"xfetch\"",
    ))
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
    if input.is_empty() || input.peek(Token![,]) {
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
    equals(name, input)?;
    let value = rest(input);
    syn::parse2(value.clone())
        .map_err(|_| syn::Error::new_spanned(value, "`handle` is a name, such as `handle = item_cache`"))
}

const BACKEND: &str = "`backend` is the path of a static, as in `backend = PAGES` for \
     `static PAGES: Backend = Backend::env(\"PAGES_CACHE\", \"memory://\")`, \
     or a URL, as in `backend = \"redis://127.0.0.1/0\"`";

fn backend(name: &Ident, input: ParseStream<'_>) -> syn::Result<Backend> {
    let expression = expression(name, input)?;
    match bare(&expression) {
        Expr::Lit(ExprLit { lit: Lit::Str(url), .. }) => Ok(Backend::Url(url.clone())),
        Expr::Path(path) if path.qself.is_none() && path.attrs.is_empty() => {
            Ok(Backend::Static(path.path.clone()))
        }
        _ => Err(syn::Error::new_spanned(&expression, BACKEND)),
    }
}

/// A number, or a constant.
fn version(name: &Ident, input: ParseStream<'_>) -> syn::Result<Expr> {
    let expression = expression(name, input)?;
    match bare(&expression) {
        Expr::Lit(ExprLit { lit: Lit::Int(number), .. }) if number.base10_parse::<u32>().is_ok() => {
            Ok(expression)
        }
        Expr::Lit(_) | Expr::Unary(_) | Expr::Closure(_) => Err(syn::Error::new_spanned(
            &expression,
            "`version` is a whole number such as `2` that fits into a `u32`",
        )),
        _ => Ok(expression),
    }
}

fn codec(name: &Ident, input: ParseStream<'_>) -> syn::Result<Path> {
    let expression = expression(name, input)?;
    match bare(&expression) {
        Expr::Path(path) if path.qself.is_none() => Ok(path.path.clone()),
        _ => Err(syn::Error::new_spanned(
            &expression,
            "`codec` is `json`, `messagepack`, or the path of a type that implements `Codec`",
        )),
    }
}

fn path(name: &Ident, input: ParseStream<'_>) -> syn::Result<Path> {
    // `crate` itself is no expression.
    equals(name, input)?;
    let value = rest(input);
    Path::parse_mod_style.parse2(value.clone()).map_err(|_| {
        syn::Error::new_spanned(value, "`crate` is a path without quotes, such as `crate = crate::cache`")
    })
}

/// The key; a literal is a mistake, that of quotes around it.
fn key(name: &Ident, input: ParseStream<'_>) -> syn::Result<Expr> {
    let expression = expression(name, input)?;
    let Expr::Lit(ExprLit { lit, .. }) = bare(&expression) else { return Ok(expression) };
    let quoted = if let Lit::Str(text) = lit { text.value() } else { String::new() };
    let inner = quoted.trim().strip_prefix('{').and_then(|inner| inner.strip_suffix('}'));
    let inner = inner.unwrap_or(&quoted).trim();
    let example = if syn::parse_str::<Expr>(inner).is_ok() { inner } else { example(name) };
    let message = format!("a literal is the same key for every call: write `key = {example}`");
    Err(syn::Error::new_spanned(expression, message))
}

/// `(a, b)`
fn names(name: &Ident, input: ParseStream<'_>) -> syn::Result<Vec<Ident>> {
    const MESSAGE: &str = "`skip` names arguments: `skip(db, self)`";
    if !input.peek(syn::token::Paren) {
        return Err(syn::Error::new_spanned(name, MESSAGE));
    }
    let content;
    parenthesized!(content in input);
    let list: TokenStream = content.parse()?;
    let parser = |input: ParseStream<'_>| input.parse_terminated(Ident::parse_any, Token![,]);
    let names = parser.parse2(list.clone()).map_err(|_| syn::Error::new_spanned(list, MESSAGE))?;
    if names.is_empty() {
        return Err(syn::Error::new_spanned(name, "`skip` names at least one argument: `skip(db, self)`"));
    }
    Ok(names.into_iter().collect())
}

/// `("user:{id}", "all-users")`
fn tags(name: &Ident, input: ParseStream<'_>) -> syn::Result<Vec<Expr>> {
    const MESSAGE: &str = "`tags` lists texts: `tags(\"user:{id}\", \"all-users\")`";
    if !input.peek(syn::token::Paren) {
        return Err(syn::Error::new_spanned(name, MESSAGE));
    }
    let content;
    parenthesized!(content in input);
    let tags = content.parse_terminated(Expr::parse, Token![,])?;
    if tags.is_empty() {
        return Err(syn::Error::new_spanned(name, MESSAGE));
    }
    let is_number =
        |tag: &&Expr| matches!(bare(tag), Expr::Lit(ExprLit { lit, .. }) if !matches!(lit, Lit::Str(_)));
    if let Some(number) = tags.iter().find(is_number) {
        return Err(syn::Error::new_spanned(number, MESSAGE));
    }
    Ok(tags.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors_of(attribute: &str) -> String {
        let mut errors = Errors::default();
        Options::parse(attribute.parse().expect("it is tokens"), &mut errors);
        errors.into_tokens().to_string()
    }

    #[test]
    fn one_fault_is_one_error_that_teaches() {
        for (attribute, expected) in [
            ("5m", r#"did you mean `timeout = \"5m\"`"#),
            ("\"5m\"", r#"did you mean `timeout = \"5m\"`"#),
            ("300", "did you mean `timeout = 300`"),
            ("5k", r#"such as `timeout = \"5m\"`"#),
            ("timeout = 300ms", r#"write `timeout = \"300ms\"`"#),
            ("timeout = 1_000ms", r#"write `timeout = \"1000ms\"`"#),
            ("timeout = \"5m\"s", r#"write `timeout = \"5m\"`"#),
            ("timeout = 5x", r#"write `timeout = \"5m\"`"#),
            ("capacity = 10k", "write `capacity = 10_000`"),
            ("jitter = \"10%\"x", r#"write `jitter = \"10%\"`"#),
            ("timeout == 5", r#"after a `=`: `timeout = \"5m\"`"#),
            ("timeout => 5", r#"after a `=`: `timeout = \"5m\"`"#),
            ("timeout: 5", r#"after a `=`: `timeout = \"5m\"`"#),
            ("timeout(5)", r#"after a `=`: `timeout = \"5m\"`"#),
            ("cache_err: true", "after a `=`: `cache_err = true`"),
            ("handle = fn", "`handle = item_cache`"),
            ("handle = a.b", "`handle = item_cache`"),
            ("handle", "needs a value: `handle = NAME`"),
            ("crate = \"cached_runtime\"", "`crate = crate::cache`"),
            ("skip(\"n\")", "`skip(db, self)`"),
            ("skip(&n)", "`skip(db, self)`"),
            ("skip(n.id)", "`skip(db, self)`"),
            ("skip(n m)", "`skip(db, self)`"),
            ("skip()", "`skip(db, self)`"),
            ("skip = n", "`skip(db, self)`"),
            ("key = \"n\"", "write `key = n`"),
            ("key = \"{ (n, m) }\"", "write `key = (n, m)`"),
            ("key = \"all of them\"", "write `key = (id, name)`"),
            ("key = 7", "write `key = (id, name)`"),
            ("backend = 7", "the path of a static"),
            ("backend = PAGES.get()", "the path of a static"),
            ("backend", "needs a value: `backend = PAGES`"),
            ("version = \"2\"", "a whole number such as `2`"),
            ("version = -1", "a whole number such as `2`"),
            ("version = 4_294_967_296", "fits into a `u32`"),
            ("codec = \"json\"", "`codec` is `json`"),
            ("tags = \"n\"", r#"`tags(\"user:{id}\", \"all-users\")`"#),
            ("tags()", "`tags` lists texts"),
            ("tags(7)", "`tags` lists texts"),
            ("lease = 10s", r#"write `lease = \"10s\"`"#),
            ("idle_timeout = 0", "a timeout of 0"),
            ("negative_timeout = 0", "leave `cache_err` or `cache_none` out"),
            (
                "local_timeout = \"0s\"",
                "`local_timeout` must be longer than zero; leave the option out for each call",
            ),
            ("lease = 0", "`lease` must be longer than zero; leave the option out for processes not to wait"),
            ("stale_while_revalidate = 0", "must be longer than zero"),
            ("stale_while_revalidate = 5m", r#"write `stale_while_revalidate = \"5m\"`"#),
            ("stale_while_revalidate = |v| v", "is the same for all values"),
            ("stale_if_error = \"0s\"", "must be longer than zero"),
            ("error_backoff = 0", "must be longer than zero"),
            ("refresh_ahead = 1.0", "between 0 and 1"),
            ("refresh_ahead = 0.8s", "between 0 and 1"),
            ("refresh_ahead = 80", "between 0 and 1"),
            ("refresh_ahead = \"80%\"", "between 0 and 1"),
            ("refresh_ahead", "`refresh_ahead = 0.8`"),
            ("max_wait = 50ms", r#"write `max_wait = \"50ms\"`"#),
            ("max_wait = 0", "must be longer than zero"),
            ("revalidate = inline", "or \\\"inline\\\""),
            ("revalidate = \"later\"", "or \\\"inline\\\""),
            ("revalidate", r#"`revalidate = \"inline\"`"#),
            ("local_timeout = |v| v", "is the same for all values"),
        ] {
            let errors = errors_of(attribute);
            assert_eq!(errors.matches("compile_error").count(), 1, "{attribute}: {errors}");
            assert!(errors.contains(expected), "{attribute}: {errors}");
            assert_eq!(errors_of(&format!("{attribute}, name = \"n\"")), errors);
        }
    }

    #[test]
    fn numbers_may_have_a_type() {
        for attribute in ["timeout = 300u64", "capacity = 10_000usize", "idle_timeout = 5_u8"] {
            assert_eq!(errors_of(attribute), "", "{attribute}");
        }
    }

    #[test]
    fn the_names_of_others_lead_to_ours_and_nothing_to_what_is_not_there() {
        for (near, names) in [
            ("timeout", "ttl ttl_secs time time_to_live max_age expire TIMEOUT Timeout timout"),
            ("capacity", "size max_size max_entries max_capacity"),
            ("idle_timeout", "time_to_idle tti"),
        ] {
            for name in names.split(' ') {
                let expected = format!("unknown option `{name}`; did you mean `{near}`?");
                assert_eq!(unknown(name), expected);
            }
        }
        assert!(unknown("bakend").contains("did you mean `backend`"));
        assert!(unknown("refresh_ahed").contains("did you mean `refresh_ahead`"));
        assert!(unknown("tgs").contains("did you mean `tags`?"));
        assert!(unknown("banana").contains("the options are"));
    }
}
