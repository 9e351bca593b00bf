//! What is to be emitted, validated: nothing is left to check.

use std::slice;
use std::time::Duration;

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Expr, ExprLit, GenericParam, Lit, Path, Type, TypeImplTrait, TypeParam, parse_quote};

use crate::borrows::{Depth, depth, wrapper};
use crate::checks;
use crate::errors::Errors;
use crate::options::{Backend, Given, Options, RefreshAhead, Time};
use crate::owned::{self, Copied};
use crate::signature::{self, Argument, Function, with_impl_traits};

pub(crate) struct Plan {
    /// The path of the runtime crate.
    pub(crate) krate: Path,
    pub(crate) function: Function,
    pub(crate) arguments: Vec<Argument>,
    /// The arguments that are not part of the key.
    pub(crate) skipped: Vec<Ident>,
    pub(crate) companion: Companion,
    /// Whether the function is in an impl or a trait.
    pub(crate) is_method: bool,
    pub(crate) name: TokenStream,
    /// Whether the name is the user's, and says all.
    pub(crate) is_named: bool,
    pub(crate) key: Key,
    /// The calls that make the policy, after `Policy::new()`.
    pub(crate) policy: TokenStream,
    /// The calls that add what is decided for each value.
    pub(crate) rules: TokenStream,
    /// The calls that make the conditions, after `Lookup::new()`, if there are any.
    pub(crate) lookup: Option<TokenStream>,
    /// `cache_err` or `cache_none`, where it is given.
    pub(crate) whole: Option<Ident>,
    pub(crate) shared: Option<Shared>,
    /// What a function whose entries are saved has beside others.
    pub(crate) saved: Option<Saved>,
    /// The texts of the tags; none if there are none.
    pub(crate) tags: Vec<TokenStream>,
    /// Copies of the arguments, where values are computed in the background.
    pub(crate) background: Option<Vec<Copied>>,
    /// Whether one of the callers computes values anew, or gets an old one where that fails.
    pub(crate) inline: bool,
}

/// What a function with a backend has beside others.
pub(crate) struct Shared {
    pub(crate) backend: Backend,
    /// The calls that add to it, after `Shared::new(…)`.
    pub(crate) options: TokenStream,
    pub(crate) codec: TokenStream,
}

/// What a function has beside others whose entries are saved.
pub(crate) struct Saved {
    /// The calls that add to it, after `Label::new()`.
    pub(crate) options: TokenStream,
    pub(crate) codec: TokenStream,
}

/// What is emitted beside the function.
pub(crate) enum Companion {
    /// A type of this name.
    Type(Ident),
    /// A method of this name.
    Handle(Ident),
    Nothing,
}

/// What the key is made of.
pub(crate) enum Key {
    Arguments,
    Expression(Expr),
}

impl Plan {
    pub(crate) fn new(
        mut function: Function,
        options: Options,
        is_method: bool,
        errors: &mut Errors,
    ) -> Self {
        signature::check(&function, errors);
        let arguments = signature::name_arguments(&mut function.signature);
        let skipped = checks::skipped(&function, &arguments, &options, errors);
        checks::mutable(&function, &arguments, &skipped, &options, errors);
        checks::depth_of_key(&arguments, &skipped, &options, errors);
        checks::combinations(&options, errors);
        checks::tags_of_key(&arguments, &options, errors);
        checks::constants(&function, &arguments, &options, errors);
        let name = options.name.as_ref().map_or_else(
            || {
                let name = format!("::{}", function.signature.ident);
                quote!(::core::concat!(::core::module_path!(), #name))
            },
            |name| name.value.to_token_stream(),
        );
        if !is_method {
            checks::put(&skipped, &options, errors);
            checks::tags(&skipped, &options, errors);
        }
        let background = options.in_background().map(|option| {
            checks::safety(&function, option, errors);
            owned::copies(function.receiver(), &arguments, errors)
        });
        let companion = match (&options.handle, is_method) {
            (Some(handle), false) => Companion::Type(handle.value.clone()),
            (None, false) => Companion::Type(function.signature.ident.clone()),
            (Some(handle), true) => Companion::Handle(handle.value.clone()),
            (None, true) => Companion::Nothing,
        };
        Self {
            krate: options
                .krate
                .as_ref()
                .map_or_else(|| parse_quote!(::cached_runtime), |krate| krate.value.clone()),
            arguments,
            skipped,
            companion,
            is_method,
            name,
            is_named: options.name.is_some(),
            policy: policy(&options),
            rules: rules(&options),
            lookup: lookup(&options),
            whole: [&options.cache_err, &options.cache_none]
                .into_iter()
                .flatten()
                .find(|it| it.value)
                .map(|it| it.name.clone()),
            shared: shared(&options),
            saved: saved(&options),
            tags: options
                .tags
                .iter()
                .flat_map(|tags| &tags.value)
                .map(|tag| text(slice::from_ref(tag)))
                .collect(),
            inline: background.is_none() && options.backend.is_none() && options.serve_ahead(),
            background,
            key: options.key.map_or(Key::Arguments, |key| Key::Expression(key.value)),
            function,
        }
    }

    /// The private module of the runtime.
    pub(crate) fn private(&self) -> TokenStream {
        let krate = &self.krate;
        quote!(#krate::__rt)
    }

    pub(crate) fn is_skipped(&self, argument: &Argument) -> bool {
        self.skipped.contains(&argument.binding)
    }

    /// Whether the key mentions an argument whose name says that nobody mentions it.
    pub(crate) fn has_underscored(&self) -> bool {
        let identifying = self.impl_traits().map(|it| it.argument);
        let mut mentioned =
            self.arguments.iter().filter(|argument| !self.is_skipped(argument)).chain(identifying);
        mentioned.any(|argument| argument.binding.to_string().starts_with('_'))
    }

    pub(crate) fn has_underscored_arguments(&self) -> bool {
        self.arguments.iter().any(|argument| argument.binding.to_string().starts_with('_'))
    }

    pub(crate) fn is_deprecated(&self) -> bool {
        self.function.attributes.iter().any(|attribute| attribute.path().is_ident("deprecated"))
    }

    /// The arguments with an `impl Trait`, whose type is part of what tells tables apart.
    pub(crate) fn impl_traits(&self) -> impl Iterator<Item = ImplTraits<'_>> {
        let mut number = 0;
        self.arguments.iter().filter_map(move |argument| {
            let mut parameters = Vec::new();
            let named =
                with_impl_traits(argument.ty.to_token_stream(), &mut |TypeImplTrait { bounds, .. }| {
                    let name = Ident::new(&format!("Impl{number}"), Span::mixed_site());
                    number += 1;
                    parameters.push(parse_quote!(#name: #bounds));
                    name.to_token_stream()
                });
            (!parameters.is_empty()).then_some(ImplTraits { argument, named, parameters })
        })
    }
}

/// An argument with an `impl Trait`.
pub(crate) struct ImplTraits<'a> {
    pub(crate) argument: &'a Argument,
    /// Its type, with a name for each `impl Trait`.
    pub(crate) named: TokenStream,
    /// The names, with their bounds.
    pub(crate) parameters: Vec<TypeParam>,
}

/// The type parameters of a function, without its lifetimes and constants.
pub(crate) fn type_parameters(function: &Function) -> impl Iterator<Item = &Ident> {
    function.signature.generics.params.iter().filter_map(|parameter| match parameter {
        GenericParam::Type(parameter) => Some(&parameter.ident),
        _ => None,
    })
}

pub(crate) fn const_parameters(function: &Function) -> impl Iterator<Item = &Ident> {
    function.signature.generics.params.iter().filter_map(|parameter| match parameter {
        GenericParam::Const(parameter) => Some(&parameter.ident),
        _ => None,
    })
}

fn duration(duration: Duration) -> TokenStream {
    let (seconds, nanoseconds) = (duration.as_secs(), duration.subsec_nanos());
    quote!(::core::time::Duration::new(#seconds, #nanoseconds))
}

/// A call in a chain, its value where the user wrote it.
fn call(name: &str, value: impl ToTokens) -> TokenStream {
    let name = Ident::new(name, Span::mixed_site());
    quote!(.#name(#value))
}

fn policy(options: &Options) -> TokenStream {
    let mut policy = TokenStream::new();
    let times = [
        ("timeout", &options.timeout),
        ("idle_timeout", &options.idle_timeout),
        ("negative_timeout", &options.negative_timeout),
        ("stale_while_revalidate", &options.stale_while_revalidate),
        ("stale_if_error", &options.stale_if_error),
        ("error_backoff", &options.error_backoff),
        ("max_wait", &options.max_wait),
    ];
    for (name, given) in times {
        policy.extend(match given {
            Some(Given { value: Time::Literal(literal), .. }) => call(name, duration(*literal)),
            // These hold for all values, so that they are known when the program is built.
            Some(Given { value: Time::Expression(expression), .. }) if name != "timeout" => {
                call(name, expression)
            }
            _ => TokenStream::new(),
        });
    }
    policy.extend(options.refresh_ahead.as_ref().map(|given| match &given.value {
        RefreshAhead::Part(part) => call("refresh_ahead", part),
        RefreshAhead::XFetch => call("refresh_ahead_xfetch", TokenStream::new()),
    }));
    if let Some(jitter) = &options.jitter {
        policy.extend(call("jitter", jitter.value));
    }
    if let Some(capacity) = &options.capacity {
        policy.extend(call("capacity", &capacity.value));
    }
    if options.weigh.is_some() {
        policy.extend(call("weighed", TokenStream::new()));
    }
    if let Some(single_flight) = &options.single_flight {
        policy.extend(call("single_flight", single_flight.value));
    }
    policy
}

fn rules(options: &Options) -> TokenStream {
    let mut rules = TokenStream::new();
    rules.extend(match &options.timeout {
        Some(Given { value: Time::Closure(closure), .. }) => call("timeout_of", closure),
        Some(Given { value: Time::Expression(expression), .. }) => call("timeout", expression),
        _ => TokenStream::new(),
    });
    for (name, given) in [("cache_if", &options.cache_if), ("weigh", &options.weigh)] {
        rules.extend(given.as_ref().map(|given| call(name, &given.value)));
    }
    rules
}

fn lookup(options: &Options) -> Option<TokenStream> {
    let mut lookup = TokenStream::new();
    for (name, given) in [("bypass_if", &options.bypass_if), ("refresh_if", &options.refresh_if)] {
        lookup.extend(given.as_ref().map(|given| call(name, &given.value)));
    }
    (!lookup.is_empty()).then_some(lookup)
}

fn shared(options: &Options) -> Option<Shared> {
    let backend = match &options.backend.as_ref()?.value {
        Backend::Url(url) => Backend::Url(url.clone()),
        Backend::Static(path) => Backend::Static(path.clone()),
    };
    let mut calls = TokenStream::new();
    calls.extend(options.version.as_ref().map(|version| call("version", &version.value)));
    calls.extend(options.tags.as_ref().map(|_| quote!(.tagged())));
    for (name, given) in [("lease", &options.lease), ("local_timeout", &options.local_timeout)] {
        calls.extend(match given {
            Some(Given { value: Time::Literal(literal), .. }) => call(name, duration(*literal)),
            Some(Given { value: Time::Expression(expression), .. }) => call(name, expression),
            _ => TokenStream::new(),
        });
    }
    Some(Shared { backend, options: calls, codec: codec(options) })
}

fn saved(options: &Options) -> Option<Saved> {
    options.save.as_ref().filter(|it| it.value)?;
    let calls = options.version.iter().map(|version| call("version", &version.value)).collect();
    Some(Saved { options: calls, codec: codec(options) })
}

fn codec(options: &Options) -> TokenStream {
    let krate =
        options.krate.as_ref().map_or_else(|| parse_quote!(::cached_runtime), |krate| krate.value.clone());
    match &options.codec {
        None => quote!(#krate::__rt::MessagePack),
        Some(Given { value, .. }) if value.is_ident("messagepack") => quote!(#krate::__rt::MessagePack),
        Some(Given { value, .. }) if value.is_ident("json") => quote!(#krate::__rt::Json),
        Some(Given { value, .. }) => value.to_token_stream(),
    }
}

/// A tag as a `String`: a text with arguments in it, or anything that can be displayed.
pub(crate) fn text(parts: &[Expr]) -> TokenStream {
    if let [Expr::Lit(ExprLit { lit: Lit::Str(_), .. }), ..] = parts {
        return quote!(::std::format!(#(#parts),*));
    }
    let (first, _) = ends(&parts.first());
    quote_spanned!(first=> ::std::string::ToString::to_string(#(&#parts)*))
}

/// A tuple of whatever size; the runtime knows those of up to eight.
fn tuple(parts: &[TokenStream]) -> TokenStream {
    const MOST: usize = 8;
    if parts.len() <= MOST {
        return quote!((#(#parts,)*));
    }
    let (first, rest) = parts.split_at(MOST - 1);
    let rest = tuple(rest);
    quote!((#(#first,)* #rest))
}

/// The first and the last span of some tokens, for what is emitted in their place: errors there
/// underline all of them.
pub(crate) fn ends(tokens: &impl ToTokens) -> (Span, Span) {
    let tokens = tokens.to_token_stream();
    let first = tokens.span();
    let last = tokens.into_iter().last().map_or(first, |token| token.span());
    (first.resolved_at(Span::mixed_site()), last.resolved_at(Span::mixed_site()))
}

/// `name` at a span.
pub(crate) fn at(span: Span, tokens: TokenStream) -> TokenStream {
    tokens
        .into_iter()
        .map(|mut token| {
            token.set_span(span);
            token
        })
        .collect()
}

impl Plan {
    /// The key by reference: a tuple, each part at the type of its argument.
    pub(crate) fn key(&self) -> TokenStream {
        let mut parts: Vec<TokenStream> =
            const_parameters(&self.function).map(|name| self.part("key", name, name)).collect();
        match &self.key {
            Key::Expression(expression) => self.parts_of_expression(expression, &mut parts),
            Key::Arguments => {
                if let Some(receiver) = self.function.receiver()
                    && !self.skipped.iter().any(|it| it == "self")
                {
                    parts.push(self.part("self_key", receiver.self_token, receiver));
                }
                for argument in self.arguments.iter().filter(|argument| !self.is_skipped(argument)) {
                    self.parts_of(argument.binding.to_token_stream(), &argument.ty, &mut parts);
                }
            }
        }
        let key = tuple(&parts);
        if self.tags.is_empty() {
            return key;
        }
        let (private, tags) = (self.private(), &self.tags);
        quote!(#private::tagged(#key, &|| [#(#tags),*]))
    }

    /// One part; what must be a key and is not is underlined at `place`.
    fn part(&self, check: &str, value: impl ToTokens, place: impl ToTokens) -> TokenStream {
        self.viewed(check, "Arg", value, place, quote!(.__view()))
    }

    fn viewed(
        &self,
        check: &str,
        wrapper: &str,
        value: impl ToTokens,
        place: impl ToTokens,
        view: TokenStream,
    ) -> TokenStream {
        let (first, last) = ends(&place);
        let private = at(first, self.private());
        let (check, wrapper) = (Ident::new(check, first), Ident::new(wrapper, first));
        let view = at(last, view);
        let part = quote_spanned!(first=> #private::#check(#private::#wrapper::new(&#value)#view));
        let elsewhere = match (&self.shared, &self.saved) {
            (Some(_), _) => quote_spanned!(first=> in_backend),
            (None, Some(_)) => quote_spanned!(first=> in_file),
            (None, None) => return part,
        };
        quote_spanned!(first=> #private::#elsewhere(#part))
    }

    /// A tuple takes part with its elements, so that each may borrow, and each has its own error.
    fn parts_of(&self, value: TokenStream, ty: &Type, parts: &mut Vec<TokenStream>) {
        match ty {
            Type::Tuple(tuple) if !tuple.elems.is_empty() => {
                for (index, element) in tuple.elems.iter().enumerate() {
                    let index = syn::Index::from(index);
                    self.parts_of(quote!(#value.#index), element, parts);
                }
            }
            Type::Paren(inner) => self.parts_of(value, &inner.elem, parts),
            Type::Group(inner) => self.parts_of(value, &inner.elem, parts),
            _ if depth(ty) == Depth::Unknown => {
                parts.push(self.viewed("key", "Arg", value, ty, quote!(.__view().borrowing())));
            }
            _ => parts.push(self.viewed("key", wrapper(ty), value, ty, quote!(.__view()))),
        }
    }

    fn parts_of_expression(&self, expression: &Expr, parts: &mut Vec<TokenStream>) {
        match expression {
            Expr::Tuple(tuple) if !tuple.elems.is_empty() => {
                tuple.elems.iter().for_each(|element| self.parts_of_expression(element, parts));
            }
            Expr::Paren(inner) => self.parts_of_expression(&inner.expr, parts),
            Expr::Group(inner) => self.parts_of_expression(&inner.expr, parts),
            _ => parts.push(self.part("key", quote!((#expression)), expression)),
        }
    }
}
