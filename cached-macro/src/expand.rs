//! A plan as tokens: the static, and one call into the runtime.

use proc_macro2::{Group, Ident, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;

use crate::companion;
use crate::options::Backend;
use crate::owned;
use crate::plan::{Companion, ImplTraits, Key, Plan, Saved, Shared, at, ends, type_parameters};
use crate::signature::{Argument, Function, by_reference};

pub(crate) fn expand(plan: &Plan) -> TokenStream {
    let function = function(plan);
    let beside = match &plan.companion {
        Companion::Type(name) => companion::of_function(plan, name),
        Companion::Handle(name) => companion::of_method(plan, name),
        Companion::Nothing => TokenStream::new(),
    };
    let recompute =
        (plan.is_method && plan.background.is_some()).then(|| companion::recompute_of_method(plan));
    quote!(#function #beside #recompute)
}

// Input:                            Output:
//
//     fn f(id: u64) -> R {              fn f(id: u64) -> R {
//         BODY                              let step = begin(STATIC, OUTCOME, IDENTITY, KEY);
//     }
//                                           match step {
//                                               Step::Return(value) => value,
//                                               Step::Run(call) => call.run(move || -> R { BODY }),
//                                           }
//                                       }
fn function(plan: &Plan) -> TokenStream {
    let private = plan.private();
    let attributes = &plan.function.attributes;
    let visibility = &plan.function.visibility;
    let signature = &plan.function.signature;
    let function = match &plan.companion {
        Companion::Type(name) => quote!(#name::__function()),
        Companion::Handle(name) => {
            let accessor = companion::accessor(name);
            quote!(Self::#accessor())
        }
        Companion::Nothing => of_its_own(plan),
    };
    let found = if plan.shared.is_some() { quote!(SharedStep) } else { quote!(Step) };
    let step = step(plan, &function, &identity(plan), plan.lookup.as_ref());
    let underscored = plan.has_underscored().then(|| quote!(clippy::used_underscore_binding,));
    let deprecated = plan.is_deprecated().then(|| quote!(deprecated));
    let allow =
        (underscored.is_some() || deprecated.is_some()).then(|| quote!(#[allow(#underscored #deprecated)]));
    let rules = &plan.rules;
    let background = plan
        .background
        .as_ref()
        .map(|copies| owned::background(plan, copies, &companion::path_of_recompute(plan)));
    let inline = plan.inline.then(|| quote!(.inline()));
    let run = run(plan);
    // Names made here are not the user's, whatever those are.
    quote_spanned! {Span::mixed_site()=>
        #(#attributes)*
        #visibility #signature {
            #allow
            let step = #step;
            match step {
                #private::#found::Return(value) => value,
                #private::#found::Run(call) => call #rules #background #inline #run,
            }
        }
    }
}

/// The lookup of a call, under conditions if there are any.
pub(crate) fn step(
    plan: &Plan,
    function: &TokenStream,
    identity: &TokenStream,
    lookup: Option<&TokenStream>,
) -> TokenStream {
    let private = plan.private();
    let lookup = lookup.map(|lookup| quote!(#private::Lookup::new()#lookup,));
    let always = || Some(quote!(#private::Lookup::new(),));
    let (begin, lookup) = match (&plan.shared, &plan.saved, lookup) {
        (None, None, None) => (quote!(begin), None),
        (None, None, lookup) => (quote!(begin_if), lookup),
        (None, Some(_), lookup) => (quote!(begin_saved), lookup.or_else(always)),
        (Some(_), _, lookup) => (quote!(begin_shared), lookup.or_else(always)),
    };
    let (outcome, key) = (outcome(plan), plan.key());
    let step = quote!(#private::#begin(#lookup #function, #outcome, #identity, #key));
    with_patterns_by_reference(plan, step)
}

/// The static of the function, in a block that nothing of the user's is in but the policy.
pub(crate) fn of_its_own(plan: &Plan) -> TokenStream {
    let private = plan.private();
    let (name, policy) = (&plan.name, &plan.policy);
    if let Some(shared) = &plan.shared {
        return with_backend(plan, shared);
    }
    let saved = plan.saved.as_ref().map(|Saved { options, .. }| {
        let place = place(plan);
        quote!(.saved(#private::Label::new()#place #options))
    });
    quote! {{
        static __FUNCTION: #private::Function =
            #private::Function::new(#name, #private::Policy::new()#policy)#saved;
        &__FUNCTION
    }}
}

/// Functions within functions have the same name as others within others, and those in blocks the same path.
fn place(plan: &Plan) -> Option<TokenStream> {
    (!plan.is_named).then(|| {
        let text = hash(&plan.function);
        quote!(.place(|| ::core::any::type_name_of_val(&|| {}), #text))
    })
}

/// The same for one that has a backend.
fn with_backend(plan: &Plan, Shared { backend, options, .. }: &Shared) -> TokenStream {
    let (private, krate) = (plan.private(), &plan.krate);
    let (name, policy) = (&plan.name, &plan.policy);
    // A static that is no backend is an error at its path.
    let by_reference = |path: &syn::Path| quote_spanned!(path.span()=> &#path);
    let (own, backend) = match backend {
        // Whether it is a URL is found out while this static is made, at the literal.
        Backend::Url(url) => {
            let span = url.span().resolved_at(Span::mixed_site());
            let krate = at(span, krate.to_token_stream());
            let open = quote_spanned!(span=> #krate::Backend::url(#url));
            (Some(quote!(static __BACKEND: #krate::Backend = #open;)), quote!(&__BACKEND))
        }
        Backend::Static(path) => (None, by_reference(path)),
    };
    let place = place(plan);
    quote! {{
        #own
        static __SHARED: #private::Shared = #private::Shared::new(#backend)#place #options;
        static __FUNCTION: #private::Function =
            #private::Function::new(#name, #private::Policy::new()#policy).shared(&__SHARED);
        &__FUNCTION
    }}
}

/// A hash of what is written, the same in every build: FNV-1a (Fowler, Noll, Vo).
fn hash(Function { signature, body, .. }: &Function) -> u64 {
    let text = quote!(#signature #body).to_string();
    let step = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}

/// How what is returned is taken apart, at the return type; and how it is encoded, if it is.
pub(crate) fn outcome(plan: &Plan) -> TokenStream {
    let outcome = outcome_here(plan);
    let codec = plan.shared.as_ref().map(|it| &it.codec).or(plan.saved.as_ref().map(|it| &it.codec));
    let Some(codec) = codec else { return outcome };
    let (first, _) = ends(&plan.function.returned());
    let private = at(first, plan.private());
    quote_spanned!(first=> #private::coded(::core::marker::PhantomData::<#codec>, #outcome))
}

fn outcome_here(plan: &Plan) -> TokenStream {
    let returned = plan.function.returned();
    let (first, last) = ends(&returned);
    let private = at(first, plan.private());
    let found = quote_spanned!(last=> .__outcome());
    // As the return type of a function that takes nothing it must name all of its lifetimes.
    let outcome = quote_spanned!(first=> #private::value(#private::Ret::<fn() -> #returned>::NEW #found));
    match &plan.whole {
        Some(whole) => {
            let private = at(whole.span().resolved_at(Span::mixed_site()), plan.private());
            quote_spanned!(whole.span()=> #private::#whole(#outcome))
        }
        None => outcome,
    }
}

/// What tells the tables of a generic function apart, beside the types of key and value.
fn identity(plan: &Plan) -> TokenStream {
    if let Companion::Nothing = plan.companion {
        // The type of a closure has all generic parameters around it, those of an impl too.
        let private = plan.private();
        let here = quote!(#private::type_of(&|| {}));
        if plan.shared.is_none() && plan.saved.is_none() {
            return here;
        }
        // Its name is all that there is of it in a backend or a file, and says less.
        let named = type_identity(plan, |_| true);
        return quote!(#private::both(#here, #named));
    }
    type_identity(plan, |_| true)
}

/// The same where no closure can stand for it, as it is spelled in several places; there, not every
/// argument need be at hand.
pub(crate) fn type_identity(plan: &Plan, is_there: impl Fn(&Argument) -> bool) -> TokenStream {
    let private = plan.private();
    let of_self = plan.is_method.then(|| Ident::new("Self", Span::mixed_site()));
    let types = type_parameters(&plan.function).cloned().chain(of_self);
    let types = quote!(::core::marker::PhantomData::<(#(::core::marker::PhantomData<#types>,)*)>);
    plan.impl_traits().fold(types, |identity, ImplTraits { argument, named, .. }| {
        let binding = &argument.binding;
        let other = if is_there(argument) {
            quote!(#private::type_of(&#binding))
        } else {
            quote!(::core::marker::PhantomData::<#named>)
        };
        quote!(#private::both(#identity, #other))
    })
}

/// Binds the names in patterns by reference for the expressions of options.
pub(crate) fn with_patterns_by_reference(plan: &Plan, expression: TokenStream) -> TokenStream {
    let has_expressions =
        plan.lookup.is_some() || !plan.tags.is_empty() || matches!(plan.key, Key::Expression(_));
    let patterns = plan.arguments.iter().filter_map(|it| Some((it.binding_pattern()?, &it.binding)));
    let patterns: Vec<_> = patterns
        .map(|(pattern, binding)| {
            let (pattern, mut names) = by_reference(pattern);
            // That the names are used is up to the body.
            names.retain(|name| !name.to_string().starts_with('_'));
            quote!(let #pattern = &#binding; #(let _ = #names;)*)
        })
        .collect();
    if patterns.is_empty() || !has_expressions {
        return expression;
    }
    quote!({ #(#patterns)* #expression })
}

/// The body, as what the runtime runs on a miss.
fn run(plan: &Plan) -> TokenStream {
    let returned = plan.function.returned();
    let patterns = plan.arguments.iter().filter_map(|argument| {
        let (pattern, binding) = (argument.binding_pattern()?, &argument.binding);
        Some(quote!(let #pattern = #binding;))
    });
    let mut body = plan.function.body.to_token_stream();
    let patterns: TokenStream = patterns.collect();
    if !patterns.is_empty() {
        // Braces of its own within these would be unnecessary ones.
        let statements = plan.function.body.as_ref().map(Group::stream);
        body = quote!({ #patterns #statements });
    }
    if plan.function.is_unsafe() {
        body = quote!({ #[allow(unused_unsafe)] unsafe #body });
    }
    if plan.function.is_async() {
        quote!(.run_async(async move || -> #returned #body).await)
    } else {
        quote!(.run(move || -> #returned #body))
    }
}
