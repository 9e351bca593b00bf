//! Options that do not fit the function, or one another.

use proc_macro2::{Delimiter, Ident, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{Expr, ExprLit, Lit, Type};

use crate::borrows::{Depth, depth};
use crate::errors::{Errors, nearest};
use crate::options::{Given, Options, RefreshAhead, Revalidate, Time};
use crate::signature::{self, Argument, Function};

/// The names given to `skip`, each of which must be an argument.
pub(crate) fn skipped(
    function: &Function,
    arguments: &[Argument],
    options: &Options,
    errors: &mut Errors,
) -> Vec<Ident> {
    let Some(skip) = &options.skip else { return Vec::new() };
    let receiver = function.receiver().map(|_| "self".to_owned());
    let named = arguments.iter().filter(|argument| argument.pattern.is_none());
    let known: Vec<String> = receiver.into_iter().chain(named.map(|it| it.binding.to_string())).collect();
    let in_patterns: Vec<Ident> =
        arguments.iter().filter(|argument| argument.pattern.is_some()).flat_map(Argument::names).collect();
    let mut skipped: Vec<Ident> = Vec::new();
    for name in &skip.value {
        let text = name.to_string();
        if skipped.contains(name) {
            errors.at(name, format!("`{text}` is skipped twice"));
        } else if known.contains(&text) {
            skipped.push(name.clone());
        } else if text == "self" {
            errors.at(name, "this function has no `self`");
        } else if text == "_" || in_patterns.contains(name) {
            errors.at(name, NO_NAME);
        } else {
            let message = match nearest(&text, known.iter().map(String::as_str)) {
                Some(near) => format!("there is no argument `{text}`; did you mean `{near}`?"),
                None => format!("there is no argument `{text}`"),
            };
            errors.at(name, message);
        }
    }
    skipped
}

const NO_NAME: &str = "an argument that is a pattern, or `_`, has no name to skip it by: \
     give it one, and take it apart in the body";

const MUTABLE: &str = "`&mut` cannot be part of a cache key: a cached call would not change what it points to. \
     If the result does not depend on it, leave it out with `skip(...)`; if it does, compute a `key = ...` from it";

pub(crate) fn mutable(
    function: &Function,
    arguments: &[Argument],
    skipped: &[Ident],
    options: &Options,
    errors: &mut Errors,
) {
    if options.key.is_some() {
        return;
    }
    if let Some(receiver) = function.receiver()
        && signature::is_mutable_reference(receiver)
        && !skipped.iter().any(|it| it == "self")
    {
        errors.at(receiver, MUTABLE);
    }
    for argument in arguments {
        if signature::is_mutable(&argument.ty) && !skipped.contains(&argument.binding) {
            errors.at(&argument.ty, MUTABLE);
        }
    }
}

const DEEPER: &str = "this borrows deeper than a cache key can follow, which is through `&T`, `Option<&T>`, `Cow<T>`, \
     lists of `&T`, and tuples of these. Leave the argument out of the key with `skip(...)`, or compute an \
     owned `key = ...` from it";

pub(crate) fn depth_of_key(
    arguments: &[Argument],
    skipped: &[Ident],
    options: &Options,
    errors: &mut Errors,
) {
    let in_key = |argument: &&Argument| options.key.is_none() && !skipped.contains(&argument.binding);
    for argument in arguments.iter().filter(in_key).filter(|argument| !signature::is_mutable(&argument.ty)) {
        for ty in parts_of_type(&argument.ty) {
            if depth(ty) == Depth::Deeper {
                errors.at(ty, DEEPER);
            }
        }
    }
}

/// Notes options that contradict one another, or lack what they need.
pub(crate) fn combinations(options: &Options, errors: &mut Errors) {
    if let (Some(_), Some(skip)) = (&options.key, &options.skip) {
        errors.at(&skip.name, "`key` already replaces all arguments, so that there is nothing to `skip`");
    }
    if let (Some(err), Some(none)) = (&options.cache_err, &options.cache_none)
        && err.value
        && none.value
    {
        errors.at(&none.name, "a function returns a `Result` or an `Option`, so that only one of `cache_err` and `cache_none` can apply");
    }
    let stores_negatives = [&options.cache_err, &options.cache_none].into_iter().flatten().any(|it| it.value);
    if let Some(negative) = &options.negative_timeout
        && !stores_negatives
    {
        errors.at(
            &negative.name,
            "`negative_timeout` is for stored errors and `None`s: it needs `cache_err` or `cache_none`",
        );
    }
    if let Some(jitter) = &options.jitter
        && options.timeout.is_none()
        && options.negative_timeout.is_none()
    {
        errors.at(&jitter.name, "`jitter` shortens the `timeout`: it needs one");
    }
    staleness(options, errors);
    with_backend(options, errors);
    saved(options, errors);
}

/// Notes what the options about values that are no longer fresh need, and what contradicts them.
fn staleness(options: &Options, errors: &mut Errors) {
    let while_revalidate = options.stale_while_revalidate.as_ref().map(|it| &it.name);
    let if_error = options.stale_if_error.as_ref().map(|it| &it.name);
    let ahead = options.refresh_ahead.as_ref().map(|it| &it.name);
    for option in [while_revalidate, if_error, ahead].into_iter().flatten() {
        if options.timeout.is_none() {
            let what = if Some(option) == ahead { "is before the end of" } else { "is past" };
            errors.at(option, format!("`{option}` is about what {what} its `timeout`: it needs one"));
        }
        let lets_one = Some(option) != if_error || options.max_wait.is_some();
        if options.single_flight.as_ref().is_some_and(|it| !it.value) && lets_one {
            errors.at(
                option,
                format!(
                    "`{option}` lets one call at a time compute anew, and `single_flight = false` all of them"
                ),
            );
        }
    }
    if let (Some(option), Some(Given { value: true, .. })) = (if_error, &options.cache_err) {
        errors.at(
            option,
            "`stale_if_error` serves an old value in place of an `Err`, and `cache_err` makes an `Err` a value",
        );
    }
    if let Some(Given { name, .. }) = &options.max_wait {
        if while_revalidate.or(if_error).is_none() {
            errors.at(
                name,
                "`max_wait` is for how long a call waits that has a stale value: it needs `stale_while_revalidate` or \
                 `stale_if_error`",
            );
        }
        if options.revalidate.as_ref().is_some_and(|it| it.value == Revalidate::Inline) {
            errors.at(
                name,
                "`max_wait` lets the body finish in the background, and `revalidate = \"inline\"` runs it in the call",
            );
        }
    }
    if let Some(Given { value: RefreshAhead::Part(part), .. }) = &options.refresh_ahead
        && let Some(Given { value: Time::Closure(_), .. }) = &options.timeout
    {
        errors.at(
            part,
            "a part of the timeout cannot be told where each value has its own: `refresh_ahead = \"xfetch\"` goes by \
             what the body costs",
        );
    }
    if let Some(Given { name, .. }) = &options.error_backoff
        && while_revalidate.or(if_error).or(ahead).is_none()
    {
        errors.at(
            name,
            "`error_backoff` is for when the body fails and an old value is served: it needs `stale_if_error`, \
             `stale_while_revalidate` or `refresh_ahead`",
        );
    }
    if let Some(Given { name, .. }) = &options.revalidate
        && while_revalidate.or(ahead).is_none()
    {
        errors.at(
            name,
            "`revalidate` is about who computes a value anew that is still served: it needs `stale_while_revalidate` or \
             `refresh_ahead`",
        );
    }
}

/// Notes what a backend needs, and what needs a backend.
fn with_backend(options: &Options, errors: &mut Errors) {
    let names = |given: [Option<&Ident>; 4]| given.into_iter().flatten().cloned().collect::<Vec<_>>();
    if let Some(backend) = &options.backend {
        if cfg!(not(feature = "backend")) {
            errors.at(&backend.name, "`backend` needs the feature `backend` of the crate `cached-runtime`");
        }
        if options.local_timeout.is_none() {
            for option in names([
                options.capacity.as_ref().map(|it| &it.name),
                options.weigh.as_ref().map(|it| &it.name),
                None,
                None,
            ]) {
                errors.at(
                    &option,
                    format!(
                        "`{option}` is about what this process keeps, which with a `backend` is nothing: \
                         it needs a `local_timeout`"
                    ),
                );
            }
        }
    } else {
        for option in names([
            options.local_timeout.as_ref().map(|it| &it.name),
            options.lease.as_ref().map(|it| &it.name),
            None,
            None,
        ]) {
            errors.at(&option, format!("`{option}` is for entries in a backend: it needs a `backend`"));
        }
        let encoding =
            [options.version.as_ref().map(|it| &it.name), options.codec.as_ref().map(|it| &it.name)];
        for option in encoding.into_iter().flatten().filter(|_| !is_saved(options)) {
            errors.at(
                option,
                format!("`{option}` is for entries outside the process: it needs a `backend`, or `save`"),
            );
        }
    }
    if let (Some(lease), Some(single_flight)) = (&options.lease, &options.single_flight)
        && !single_flight.value
    {
        errors.at(
            &lease.name,
            "`lease` lets one process compute at a time, and `single_flight = false` all calls of this one",
        );
    }
}

fn is_saved(options: &Options) -> bool {
    options.save.as_ref().is_some_and(|it| it.value)
}

/// Notes what contradicts entries that are saved to a file.
fn saved(options: &Options, errors: &mut Errors) {
    let Some(Given { name, value: true }) = &options.save else { return };
    if cfg!(not(feature = "backend")) {
        errors.at(name, "`save` needs the feature `backend` of the crate `cached-runtime`");
    }
    if options.backend.is_some() {
        errors.at(
            name,
            "`save` is for entries in this process, and those in a `backend` outlive it as they are: \
             leave one of the two out",
        );
    }
    if let Some(tags) = &options.tags {
        errors.at(
            &tags.name,
            "`tags` may be invalidated while a file that was saved does not know of it, so that entries with tags \
             are not saved: leave out `tags` or `save`",
        );
    }
}

/// Notes a function that may not be called at another time.
pub(crate) fn safety(function: &Function, option: &Ident, errors: &mut Errors) {
    if function.is_unsafe() {
        errors.at(
            option,
            format!(
                "`{option}` calls the function again later, when what its callers promise for an `unsafe` one may \
                 not hold: let one of them compute with `revalidate = \"inline\"`"
            ),
        );
    }
}

/// Notes what is to hold for all calls and mentions an argument of one.
pub(crate) fn constants(function: &Function, arguments: &[Argument], options: &Options, errors: &mut Errors) {
    let mut names: Vec<Ident> = arguments.iter().flat_map(Argument::names).collect();
    names.extend(function.receiver().map(|receiver| Ident::from(receiver.self_token)));
    let capacity = options.capacity.as_ref().map(|capacity| (&capacity.name, &capacity.value));
    let version = options.version.as_ref().map(|version| (&version.name, &version.value));
    let times = [
        &options.idle_timeout,
        &options.negative_timeout,
        &options.stale_while_revalidate,
        &options.stale_if_error,
        &options.error_backoff,
        &options.max_wait,
        &options.local_timeout,
        &options.lease,
    ];
    let times = times.into_iter().flatten();
    let times = times.filter_map(|given| match &given.value {
        Time::Expression(expression) => Some((&given.name, expression)),
        _ => None,
    });
    for (option, expression) in capacity.into_iter().chain(version).chain(times) {
        if let Some(found) = mentioned(&names, expression.to_token_stream()) {
            let message = format!(
                "`{option}` holds for all calls: it must be a constant, and `{found}` is an argument"
            );
            errors.at(found, message);
        }
    }
}

/// Notes a timeout that needs what the companion is not given.
pub(crate) fn put(skipped: &[Ident], options: &Options, errors: &mut Errors) {
    if let Some(Given { value: Time::Expression(expression), .. }) = &options.timeout
        && let Some(found) = mentioned(skipped, expression.to_token_stream())
    {
        let message = format!(
            "`{found}` is skipped, so that the companion's `put` does not have it: \
             compute the timeout from the value, as in `timeout = |v| v.max_age()`, or do not skip it"
        );
        errors.at(found, message);
    }
}

/// Notes tags of what the key says nothing of: a call with another one would hit an entry with a wrong tag.
pub(crate) fn tags_of_key(arguments: &[Argument], options: &Options, errors: &mut Errors) {
    let Some(key) = &options.key else { return };
    let key = key.value.to_token_stream();
    let names: Vec<_> =
        arguments.iter().map(|it| it.binding.clone()).filter(|it| !occurs(it, &key)).collect();
    for (tag, found) in tags_with(&names, options) {
        let message =
            format!("`{found}` is not part of the `key`: make the tag of what is, or add it to the key");
        errors.at(tag, message);
    }
}

/// The tags that are made with one of these names.
fn tags_with<'a>(names: &'a [Ident], options: &'a Options) -> impl Iterator<Item = (&'a Expr, Ident)> {
    options.tags.iter().flat_map(|tags| &tags.value).filter_map(|tag| {
        let found = match tag {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => {
                names.iter().find(|name| captures(&text.value(), name)).cloned()
            }
            other => mentioned(names, other.to_token_stream()),
        };
        Some((tag, found?))
    })
}

/// Whether a name is anywhere in an expression.
fn occurs(name: &Ident, expression: &TokenStream) -> bool {
    expression.clone().into_iter().any(|token| match token {
        TokenTree::Ident(it) => it == *name,
        TokenTree::Group(group) => occurs(name, &group.stream()),
        _ => false,
    })
}

/// Notes tags that need what the companion is not given.
pub(crate) fn tags(skipped: &[Ident], options: &Options, errors: &mut Errors) {
    for (tag, found) in tags_with(skipped, options) {
        let message = format!(
            "`{found}` is skipped, so that the companion's `put` does not have it: \
             make the tag of arguments that are part of the key, or do not skip it"
        );
        errors.at(tag, message);
    }
}

/// Whether a format string has this name in it.
fn captures(text: &str, name: &Ident) -> bool {
    let text = text.replace("{{", "").replace("}}", "");
    let captured = text.split('{').skip(1).filter_map(|rest| rest.split(['}', ':']).next());
    captured.map(str::trim).any(|captured| name == captured)
}

/// The first of some names that an expression mentions for certain: what is in a block, or after a `|` or a
/// `let`, may be bound there.
fn mentioned(names: &[Ident], expression: TokenStream) -> Option<Ident> {
    let mut last = None;
    let mut tokens = expression.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match &token {
            TokenTree::Punct(punct) if punct.as_char() == '|' => return None,
            TokenTree::Ident(word) if word == "let" => return None,
            // Not a field, nor a part of a path, nor a macro.
            TokenTree::Ident(name)
                if names.contains(name)
                    && !is_one_of(last.as_ref(), ['.', ':'])
                    && !is_one_of(tokens.peek(), [':', '!']) =>
            {
                return Some(name.clone());
            }
            TokenTree::Group(group) if group.delimiter() != Delimiter::Brace => {
                if let Some(name) = mentioned(names, group.stream()) {
                    return Some(name);
                }
            }
            _ => {}
        }
        last = Some(token);
    }
    None
}

fn is_one_of(token: Option<&TokenTree>, marks: [char; 2]) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if marks.contains(&punct.as_char()))
}

/// The types that a key is made of: a tuple takes part with its elements.
fn parts_of_type(ty: &Type) -> Vec<&Type> {
    match ty {
        Type::Tuple(tuple) => tuple.elems.iter().flat_map(parts_of_type).collect(),
        Type::Paren(inner) => parts_of_type(&inner.elem),
        Type::Group(inner) => parts_of_type(&inner.elem),
        _ => vec![ty],
    }
}

#[cfg(test)]
mod tests {
    use proc_macro2::Span;

    use super::*;

    #[test]
    fn what_is_not_an_argument_for_certain_is_left_to_the_compiler() {
        let names = [Ident::new("n", Span::call_site())];
        for (expression, expected) in [
            ("n", true),
            ("LIMIT + n * 2", true),
            ("Duration::from_secs(n)", true),
            ("[1, (n)][0]", true),
            ("n.limit()", true),
            ("limit.n() + self.n", false),
            ("n::LIMIT + other::n", false),
            ("n!(7)", false),
            ("{ let n = 7; n }", false),
            ("LIMIT.map(|n| n + 1)", false),
            ("if let Some(n) = LIMIT { n } else { 1 }", false),
        ] {
            let tokens = expression.parse().expect("it is tokens");
            assert_eq!(mentioned(&names, tokens).is_some(), expected, "{expression}");
        }
    }
}
