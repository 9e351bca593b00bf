//! A writer as tokens: its body, and what is done before and after it.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::punctuated::Punctuated;
use syn::{
    Expr, ExprCall, ExprField, ExprMethodCall, ExprPath, ExprReference, ExprUnary, FnArg, Path,
    PathArguments, ReturnType, Token, UnOp,
};

use super::{Target, Writes};
use crate::plan::{at, ends};
use crate::signature::{Function, by_reference, is_shared, is_shared_receiver, with_impl_traits};

/// A function, and what is to be done around its body.
pub(super) struct Writer {
    pub(super) writes: Writes,
    pub(super) targets: Vec<Target>,
    pub(super) before: bool,
    pub(super) krate: Path,
    pub(super) function: Function,
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
    pub(super) fn expand(&self) -> TokenStream {
        let Function { attributes, visibility, signature, .. } = &self.function;
        let private = self.private();
        let parts: Vec<_> =
            self.targets.iter().enumerate().map(|(number, it)| self.parts(number, it)).collect();
        let wait = self.function.is_async().then(|| quote!(.await));
        let ahead = parts.iter().filter(|_| self.before).map(|part| {
            let act = self.act(&part.at_once, part.span);
            quote!(#act #wait;)
        });
        let prepared = parts.iter().map(|part| &part.prepared);
        let after = self.after(&parts);
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
                #after
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
                let (span, _) = ends(&call.func);
                self.of_method(number, &call.args, span, |args| {
                    ExprCall { args, ..call.clone() }.into_token_stream()
                })
            }
            Target::Method(call) => {
                let span = call.method.span().resolved_at(Span::mixed_site());
                self.of_method(number, &call.args, span, |args| {
                    ExprMethodCall { args, ..call.clone() }.into_token_stream()
                })
            }
        }
    }

    /// A handle that is asked for when the body has run, with arguments from before.
    fn of_method(
        &self,
        number: usize,
        arguments: &Punctuated<Expr, Token![,]>,
        span: Span,
        call: impl Fn(Punctuated<Expr, Token![,]>) -> TokenStream,
    ) -> Parts {
        let at_once = arguments.iter().map(|argument| Expr::Verbatim(self.copied(argument))).collect();
        let (prepared, later) = self.prepared(number, arguments);
        Parts { prepared, made: Made::Handle(call(later)), at_once: Made::Handle(call(at_once)), span }
    }

    /// What is done after the body. Where it is awaited, all of it is begun before anything is waited for: a future
    /// that is dropped after the success has forgotten what is in this process.
    fn after(&self, parts: &[Parts]) -> TokenStream {
        let private = self.private();
        let acts = parts.iter().map(|part| self.act(&part.made, part.span));
        if !self.function.is_async() {
            return acts.map(|act| quote!(#act;)).collect();
        }
        let names: Vec<_> =
            (0..parts.len()).map(|number| format_ident!("act{number}", span = Span::mixed_site())).collect();
        quote_spanned! {Span::mixed_site()=>
            #(let #names = #private::begun(#acts).await;)*
            #private::done([#(#names),*]).await;
        }
    }

    /// What is done about a target; a future of it where it is awaited.
    fn act(&self, made: &Made, span: Span) -> TokenStream {
        let private = at(span, self.private());
        let krate = &self.krate;
        let does = |name: &str| {
            let name = if self.function.is_async() { format!("{name}_async") } else { name.to_owned() };
            Ident::new(&name, span)
        };
        match (made, self.writes) {
            (Made::Handle(handle), Writes::Invalidates) => {
                let forget = does("forget");
                quote!(#private::#forget(#handle))
            }
            (Made::Handle(handle), Writes::Updates) => {
                let (update, success) = (does("update"), Ident::new("success", Span::mixed_site()));
                quote!(#private::Success::of(&#success).#update(#handle))
            }
            (Made::All(path), _) if self.function.is_async() => {
                let (function, clear) = (Ident::new("__function", span), Ident::new("clear_async", span));
                quote!(#path::#function().#clear())
            }
            (Made::All(path), _) => {
                let clear = Ident::new("clear", span);
                quote!(#private::cleared(#path::#clear()))
            }
            (Made::Tag(tag), _) => {
                let invalidate = does("invalidate_tag");
                quote!(#krate::store().#invalidate(&#tag))
            }
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
