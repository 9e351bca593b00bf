//! `#[invalidates]` and `#[updates]`: what is done about cached entries when a function has succeeded.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{
    Attribute, Expr, ExprCall, ExprField, ExprLit, ExprMethodCall, ExprPath, ExprReference, ExprUnary, FnArg,
    Lit, LitBool, Path, PathArguments, ReturnType, Token, Type, UnOp, parse_quote,
};

use crate::errors::Errors;
use crate::plan::{at, ends, text};
use crate::signature::{Function, by_reference, is_shared, is_shared_receiver, with_impl_traits};

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

struct Writer {
    writes: Writes,
    targets: Vec<Target>,
    before: bool,
    krate: Path,
    function: Function,
}

/// A target in the two places where something is done about it.
struct Parts {
    /// Ahead of the body: what would be gone after it.
    prepared: TokenStream,
    /// The handle, the tag, or the call that clears, made from what was prepared.
    made: Made,
    /// The same with nothing prepared.
    at_once: Made,
    /// Where errors about it belong.
    span: Span,
}

enum Made {
    Handle(TokenStream),
    Tag(TokenStream),
    All(Path),
}

impl Writer {
    // Input, with `get_user(id)`:       Output:
    //
    //     fn save(id: u64) -> R {           fn save(id: u64) -> R {
    //         BODY                              let entry0 = get_user::__entry(Place::of(&id).copy());
    //     }                                     let (kind, success) = {
    //                                               let returned = run(move || -> R { BODY });
    //                                               let kind = finished(Returned::of(&returned).__kind());
    //                                               match split(kind, returned) {
    //                                                   Ok(success) => (kind, success),
    //                                                   Err(failed) => return failed,
    //                                               }
    //                                           };
    //                                           forget(entry0);
    //                                           join(kind, success)
    //                                       }
    fn expand(&self) -> TokenStream {
        let Function { attributes, visibility, signature, .. } = &self.function;
        let private = self.private();
        let parts: Vec<_> =
            self.targets.iter().enumerate().map(|(number, it)| self.parts(number, it)).collect();
        let ahead = parts.iter().filter(|_| self.before).map(|part| self.act(&part.at_once, part.span));
        let prepared = parts.iter().map(|part| &part.prepared);
        let after = parts.iter().map(|part| self.act(&part.made, part.span));
        let body = self.body();
        // Where one asks about success, a future has none.
        let (first, _) = match &signature.output {
            ReturnType::Type(_, ty) => ends(ty),
            ReturnType::Default => ends(&signature.ident),
        };
        let checked = at(first, quote!(#private::finished));
        quote_spanned! {Span::mixed_site()=>
            #(#attributes)*
            #visibility #signature {
                #(#ahead)*
                #(#prepared)*
                // Outside of the block nothing is kept but the success, so that a future need not send an error.
                let (kind, success) = {
                    let returned = #body;
                    let kind = #checked(#private::Returned::of(&returned).__kind());
                    match #private::split(kind, returned) {
                        ::core::result::Result::Ok(success) => (kind, success),
                        ::core::result::Result::Err(failed) => return failed,
                    }
                };
                #(#after)*
                #private::join(kind, success)
            }
        }
    }

    fn private(&self) -> TokenStream {
        let krate = &self.krate;
        quote!(#krate::__rt)
    }

    fn body(&self) -> TokenStream {
        let private = self.private();
        let mut body = self.function.body.to_token_stream();
        if self.function.is_unsafe() {
            body = quote!({ #[allow(unused_unsafe)] unsafe #body });
        }
        // What has no name is inferred.
        let returned = with_impl_traits(self.function.returned().into_token_stream(), &mut |_| quote!(_));
        // What the body takes is dropped when it ends, before anything is done after it.
        let by_move = (!self.needs_receivers()).then(|| quote!(move));
        if self.function.is_async() {
            quote!(#private::run_async(async #by_move || -> #returned #body).await)
        } else {
            quote!(#private::run(#by_move || -> #returned #body))
        }
    }

    /// Whether a handle is asked of something that the body would take with it although it uses it by reference.
    fn needs_receivers(&self) -> bool {
        self.targets.iter().any(|target| {
            let Target::Method(call) = target else { return false };
            let Some(root) = root_of_receiver(&call.receiver) else { return false };
            self.function.signature.inputs.iter().any(|input| match input {
                FnArg::Receiver(receiver) => root == "self" && !is_shared_receiver(receiver),
                FnArg::Typed(argument) => {
                    !is_shared(&argument.ty) && by_reference(&argument.pat).1.contains(root)
                }
            })
        })
    }

    fn parts(&self, number: usize, target: &Target) -> Parts {
        match target {
            Target::Tag(text) => {
                let name = format_ident!("tag{number}", span = Span::mixed_site());
                Parts {
                    prepared: quote!(let #name = #text;),
                    made: Made::Tag(quote!(#name)),
                    at_once: Made::Tag(text.clone()),
                    span: Span::mixed_site(),
                }
            }
            Target::All(path) => {
                let span = name_of(path);
                let made = || Made::All(path.clone());
                Parts { prepared: TokenStream::new(), made: made(), at_once: made(), span }
            }
            Target::Key(call) => {
                let Expr::Path(function) = &*call.func else { unreachable!("it was found to be a path") };
                let mut path = function.path.clone();
                let span = name_of(&path);
                let generics = path
                    .segments
                    .last_mut()
                    .map(|it| std::mem::replace(&mut it.arguments, PathArguments::None));
                let generics = generics.filter(|it| !it.is_none());
                let arguments = call.args.iter().map(|argument| self.copied(argument));
                let entry = Ident::new("__entry", span);
                let handle = quote!(#path::#entry #generics(#(#arguments),*));
                let name = format_ident!("entry{number}", span = span);
                Parts {
                    prepared: quote!(let #name = #handle;),
                    made: Made::Handle(quote!(#name)),
                    at_once: Made::Handle(handle),
                    span,
                }
            }
            Target::Associated(call) => {
                let (prepared, arguments) = self.prepared(number, &call.args);
                let made = ExprCall { args: arguments, ..call.clone() };
                let (span, _) = ends(&call.func);
                let at_once = self.all_copied(&call.args);
                let at_once = ExprCall { args: at_once, ..call.clone() };
                Parts {
                    prepared,
                    made: Made::Handle(made.into_token_stream()),
                    at_once: Made::Handle(at_once.into_token_stream()),
                    span,
                }
            }
            Target::Method(call) => {
                let (prepared, arguments) = self.prepared(number, &call.args);
                let made = ExprMethodCall { args: arguments, ..call.clone() };
                let at_once = ExprMethodCall { args: self.all_copied(&call.args), ..call.clone() };
                Parts {
                    prepared,
                    made: Made::Handle(made.into_token_stream()),
                    at_once: Made::Handle(at_once.into_token_stream()),
                    span: call.method.span().resolved_at(Span::mixed_site()),
                }
            }
        }
    }

    /// What is done about a target.
    fn act(&self, made: &Made, span: Span) -> TokenStream {
        let private = at(span, self.private());
        let krate = &self.krate;
        let wait = self.function.is_async().then(|| quote!(.await));
        let does = |name: &str| {
            let name = if self.function.is_async() { format!("{name}_async") } else { name.to_owned() };
            Ident::new(&name, span)
        };
        match (made, self.writes) {
            (Made::Handle(handle), Writes::Invalidates) => {
                let forget = does("forget");
                quote!(#private::#forget(#handle)#wait;)
            }
            (Made::Handle(handle), Writes::Updates) => {
                let (update, success) = (does("update"), Ident::new("success", Span::mixed_site()));
                quote!(#private::Success::of(&#success).#update(#handle)#wait;)
            }
            (Made::All(path), _) if self.function.is_async() => {
                let (function, clear) = (Ident::new("__function", span), Ident::new("clear_async", span));
                quote!(#path::#function().#clear().await;)
            }
            (Made::All(path), _) => {
                let clear = Ident::new("clear", span);
                quote!(#private::cleared(#path::#clear());)
            }
            (Made::Tag(tag), _) => quote!(#krate::store().invalidate_tag(&#tag);),
        }
    }

    /// Variables for arguments that are needed after the body, and the arguments made of them.
    fn prepared(
        &self,
        number: usize,
        arguments: &Punctuated<Expr, Token![,]>,
    ) -> (TokenStream, Punctuated<Expr, Token![,]>) {
        let mut prepared = TokenStream::new();
        let later = arguments.iter().enumerate().map(|(place, argument)| {
            let (first, _) = ends(argument);
            let name = format_ident!("argument{number}_{place}", span = first);
            // What a reference is to is kept, rather than the reference.
            if let Expr::Reference(ExprReference { mutability: None, expr, .. }) = bare(argument)
                && self.is_place(expr)
            {
                let copy = self.copied(expr);
                prepared.extend(quote!(let #name = #copy;));
                return Expr::Verbatim(quote!(&#name));
            }
            let value = self.copied(argument);
            prepared.extend(quote!(let #name = #value;));
            Expr::Verbatim(quote!(#name))
        });
        let later = later.collect::<Punctuated<_, _>>();
        (prepared, later)
    }

    fn all_copied(&self, arguments: &Punctuated<Expr, Token![,]>) -> Punctuated<Expr, Token![,]> {
        arguments.iter().map(|argument| Expr::Verbatim(self.copied(argument))).collect()
    }

    /// An argument of which the body has its own: a variable, or a part of one, is copied.
    fn copied(&self, argument: &Expr) -> TokenStream {
        if !self.is_place(argument) {
            return argument.to_token_stream();
        }
        let (first, _) = ends(argument);
        let private = at(first, self.private());
        quote_spanned!(first=> #private::Place::of(&#argument).copy())
    }

    /// Whether this is an argument of the function, or a field of one.
    fn is_place(&self, expression: &Expr) -> bool {
        let Some(root) = root(expression) else { return false };
        root == "self"
            || self.function.signature.inputs.iter().any(|input| match input {
                FnArg::Receiver(_) => false,
                FnArg::Typed(argument) => by_reference(&argument.pat).1.contains(root),
            })
    }
}

/// The variable that a handle is asked of.
fn root_of_receiver(receiver: &Expr) -> Option<&Ident> {
    match bare(receiver) {
        Expr::MethodCall(call) => root_of_receiver(&call.receiver),
        other => root(other),
    }
}

/// The variable that a place is in.
fn root(place: &Expr) -> Option<&Ident> {
    match bare(place) {
        Expr::Path(ExprPath { qself: None, path, .. }) => path.get_ident(),
        Expr::Field(ExprField { base, .. }) => root(base),
        Expr::Unary(ExprUnary { op: UnOp::Deref(_), expr, .. }) => root(expr),
        _ => None,
    }
}

fn bare(expression: &Expr) -> &Expr {
    match expression {
        Expr::Paren(inner) => bare(&inner.expr),
        Expr::Group(inner) => bare(&inner.expr),
        other => other,
    }
}

/// Where the name at the end of a path stands.
fn name_of(path: &Path) -> Span {
    path.segments.last().map_or_else(Span::call_site, |it| it.ident.span()).resolved_at(Span::mixed_site())
}
