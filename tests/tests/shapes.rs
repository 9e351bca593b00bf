//! Every shape of function that the attribute can be on.

use std::borrow::Cow;
use std::fmt::{Debug, Display};
use std::hash::Hash;
use std::path::Path;
use std::sync::Arc;

use cached_runtime::{Key, cached, testing};
use cached_tests::Runs;

#[test]
fn a_free_function_runs_once_for_each_key() {
    static RUNS: Runs = Runs::new();
    #[cached(timeout = 300)]
    fn item(id: u64, lang: &str) -> String {
        RUNS.add();
        format!("{id} {lang}")
    }
    let _own = testing::isolated();
    for _ in 0..3 {
        assert_eq!(
            (item(1, "en"), item(2, "en"), item(1, "de")),
            ("1 en".into(), "2 en".into(), "1 de".into())
        );
    }
    assert_eq!(RUNS.get(), 3);
}

#[test]
fn borrowed_optional_and_cow_arguments_are_keys_as_they_are() {
    static RUNS: Runs = Runs::new();
    #[derive(Hash, PartialEq, Eq, Clone)]
    struct Query(u8);
    #[cached]
    #[expect(clippy::too_many_arguments)]
    fn all(
        text: &str,
        bytes: &[u8],
        path: &Path,
        query: &Query,
        maybe: Option<&str>,
        cow: Cow<'_, str>,
        texts: &[&str],
        owned: Vec<String>,
        array: [u8; 2],
        tuple: (u8, &str),
        nested: &&str,
        list: Vec<&str>,
        pair: [&str; 2],
    ) -> usize {
        RUNS.add();
        text.len()
            + bytes.len()
            + path.as_os_str().len()
            + usize::from(query.0)
            + maybe.map_or(0, str::len)
            + cow.len()
            + texts.len()
            + owned.len()
            + array.len()
            + tuple.1.len()
            + nested.len()
            + list.len()
            + pair.len()
    }
    let _own = testing::isolated();
    let call = |text: &str, maybe, last: &str| {
        let path = format!("p{text}");
        all(
            text,
            text.as_bytes(),
            Path::new(&path),
            &Query(1),
            maybe,
            Cow::Borrowed("c"),
            &[text, "x"],
            vec!["o".to_owned()],
            [1, 2],
            (1, text),
            &text,
            vec![text, last],
            [text, last],
        )
    };
    let first = call("t", None, "l");
    assert_eq!(call(&String::from("t"), None, "l"), first);
    assert_eq!(RUNS.get(), 1);
    call("t", Some(""), "l");
    call("t", None, "m");
    assert_eq!(RUNS.get(), 3);
}

#[test]
fn patterns_mut_wildcards_and_raw_names_are_arguments_like_others() {
    static RUNS: Runs = Runs::new();
    #[derive(Hash, PartialEq, Eq, Clone)]
    struct Point {
        x: u8,
        y: u8,
    }
    #[cached]
    fn sum(
        mut a: u32,
        (b, c): (u32, u32),
        Point { x, .. }: Point,
        _: u8,
        r#type: u32,
        [d, e]: [u32; 2],
    ) -> u32 {
        RUNS.add();
        a += b + c;
        a + u32::from(x) + r#type + d + e
    }
    let _own = testing::isolated();
    let point = |y| Point { x: 3, y };
    assert_eq!(point(1).y, 1);
    assert_eq!(sum(1, (2, 3), point(0), 0, 4, [5, 6]), 24);
    assert_eq!(sum(1, (2, 3), point(0), 0, 4, [5, 6]), 24);
    assert_eq!(RUNS.get(), 1);
    sum(1, (2, 3), point(1), 0, 4, [5, 6]);
    sum(1, (2, 3), point(0), 1, 4, [5, 6]);
    assert_eq!(RUNS.get(), 3, "what a pattern leaves out, and `_`, are part of the key");
}

#[test]
fn what_is_bound_in_a_pattern_may_be_used_by_options() {
    #[cached(key = (a, b), bypass_if = *c == 0)]
    fn sum((mut a, &b): (u32, &u32), ref c: u32) -> u32 {
        a += 1;
        a + b + c
    }
    let _own = testing::isolated();
    assert_eq!((sum((1, &2), 3), sum((1, &2), 4), sum((1, &2), 0)), (7, 7, 4));
    assert_eq!(sum::peek((1, &2), 3), Some(7));
}

#[test]
fn any_name_may_be_an_argument_s() {
    #[cached]
    #[expect(clippy::too_many_arguments)]
    fn named(
        key: u8,
        inner: u8,
        cache: u8,
        self_: u8,
        call: u8,
        step: u8,
        function: u8,
        value: u8,
        hint: u8,
        arg0: u8,
    ) -> u8 {
        key + inner + cache + self_ + call + step + function + value + hint + arg0
    }
    struct Method;
    impl Method {
        #[cached(skip(self))]
        #[expect(non_snake_case, reason = "named like the static")]
        fn named(&self, __FUNCTION: u8, step: u8) -> u8 {
            __FUNCTION + step
        }
    }
    let _own = testing::isolated();
    assert_eq!((Method.named(1, 1), Method.named(2, 1)), (2, 3));
    assert_eq!(named(1, 1, 1, 1, 1, 1, 1, 1, 1, 1), 10);
    named::put(2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 7);
    assert_eq!(named(2, 2, 2, 2, 2, 2, 2, 2, 2, 2), 7);
}

#[test]
fn an_argument_may_be_there_under_a_condition() {
    #[cached(skip(verbose))]
    fn conditional(
        #[cfg(test)] id: u8,
        #[cfg(not(test))] id: u64,
        #[cfg(any())] gone: f64,
        verbose: bool,
    ) -> String {
        format!("{id} {verbose}")
    }
    #[cached(skip(gone), timeout = 60)]
    fn skipping_what_is_gone(#[cfg(any())] gone: &f64, id: u8) -> u8 {
        id
    }
    #[cached(timeout = 60, skip(gone, verbose))]
    fn skipping_more(#[cfg(any())] gone: &f64, verbose: f64, id: u8) -> f64 {
        f64::from(id) + verbose
    }
    let _own = testing::isolated();
    assert_eq!((skipping_what_is_gone(1), skipping_what_is_gone(2)), (1, 2));
    assert_eq!(skipping_more(0.5, 1).to_bits(), skipping_more(0.7, 1).to_bits());
    assert_eq!(conditional(1_u8, true), "1 true");
    assert_eq!(conditional(1_u8, false), "1 true");
}

#[test]
fn question_mark_return_and_recursion_work_in_the_body() {
    #[cached(timeout = "5m")]
    fn parse(text: &str) -> Result<u64, std::num::ParseIntError> {
        if text.is_empty() {
            return Ok(0);
        }
        let n: u64 = text.parse()?;
        Ok(n)
    }
    #[cached]
    fn fibonacci(n: u64) -> u64 {
        if n < 2 { n } else { fibonacci(n - 1) + fibonacci(n - 2) }
    }
    let _own = testing::isolated();
    assert_eq!((parse("").ok(), parse("7").ok(), parse("x").ok()), (Some(0), Some(7), None));
    assert_eq!(fibonacci(90), 2_880_067_194_370_816_120);
    assert_eq!(fibonacci::stats().computations, 91);
}

#[test]
fn generic_functions_keep_their_instantiations_apart() {
    static RUNS: Runs = Runs::new();
    trait Unit {
        const NAME: &'static str;
    }
    struct Metre;
    struct Foot;
    impl Unit for Metre {
        const NAME: &'static str = "m";
    }
    impl Unit for Foot {
        const NAME: &'static str = "ft";
    }
    /// The parameter shows in neither key nor value.
    #[cached]
    fn label<U: Unit>(n: u32) -> String {
        RUNS.add();
        format!("{n} {}", U::NAME)
    }
    #[cached]
    fn show<T>(thing: T) -> String
    where
        T: Key + Clone + Debug,
    {
        format!("{thing:?}")
    }
    #[cached]
    fn chunk<const N: usize>(n: u8) -> Vec<u8> {
        vec![n; N]
    }
    #[cached]
    fn shout(thing: impl Display + Key + Clone, times: u8) -> String {
        format!("{thing}{times}")
    }
    #[cached(skip(unit))]
    fn skipped(unit: &impl Unitlike, n: u8) -> String {
        format!("{n}{}", unit.name())
    }
    trait Unitlike {
        fn name(&self) -> &'static str;
    }
    impl<T: Unit> Unitlike for T {
        fn name(&self) -> &'static str {
            T::NAME
        }
    }
    let _own = testing::isolated();
    for _ in 0..2 {
        assert_eq!((label::<Metre>(1), label::<Foot>(1)), ("1 m".into(), "1 ft".into()));
        assert_eq!((show(1_u8), show(1_i8), show("a".to_owned())), ("1".into(), "1".into(), "\"a\"".into()));
        assert_eq!((chunk::<1>(1), chunk::<2>(1)), (vec![1], vec![1, 1]));
        assert_eq!((shout("a".to_owned(), 1), shout('a', 1)), ("a1".into(), "a1".into()));
        assert_eq!((skipped(&Metre, 1), skipped(&Foot, 1)), ("1m".into(), "1ft".into()));
    }
    assert_eq!(RUNS.get(), 2);
    assert!(label::invalidate::<Foot>(1));
    assert_eq!((label::peek::<Foot>(1), label::peek::<Metre>(1)), (None, Some("1 m".into())));
    assert!(skipped::invalidate::<Foot>(1));
    assert_eq!(skipped::stats().entries, 1);
}

#[test]
fn what_an_impl_trait_is_tells_calls_apart_in_the_companion_too() {
    trait Kind {
        fn kind(&self) -> &'static str;
    }
    impl Kind for str {
        fn kind(&self) -> &'static str {
            "str"
        }
    }
    impl Kind for String {
        fn kind(&self) -> &'static str {
            "String"
        }
    }
    /// Both are kept as a `String`.
    #[cached]
    fn kind(thing: &(impl Kind + Key + ?Sized)) -> &'static str {
        thing.kind()
    }
    #[cached(key = n)]
    fn beside_the_key(thing: &(impl Kind + ?Sized), n: u8) -> String {
        format!("{}{n}", thing.kind())
    }
    #[cached(skip(one))]
    fn one_of_two(one: &(impl Kind + ?Sized), two: &(impl Kind + Key + ?Sized)) -> [&'static str; 2] {
        [one.kind(), two.kind()]
    }
    struct Method;
    impl Method {
        #[cached(skip(self), handle = kind_cache)]
        fn kind(&self, thing: &(impl Kind + Key + ?Sized)) -> &'static str {
            thing.kind()
        }
    }
    let _own = testing::isolated();
    let owned = String::from("a");
    for _ in 0..2 {
        assert_eq!((kind("a"), kind(&owned)), ("str", "String"));
        assert_eq!((Method.kind("a"), Method.kind(&owned)), ("str", "String"));
        assert_eq!((beside_the_key("a", 1), beside_the_key(&owned, 1)), ("str1".into(), "String1".into()));
        assert_eq!(
            (one_of_two("a", &owned), one_of_two(&owned, "a")),
            (["str", "String"], ["String", "str"])
        );
    }
    assert!(kind::invalidate("a"));
    assert_eq!((kind::peek("a"), kind::peek(&owned)), (None, Some("String")));
    assert!(Method.kind_cache(&owned).invalidate());
    assert_eq!((Method.kind_cache("a").peek(), Method.kind_cache(&owned).peek()), (Some("str"), None));
    assert!(beside_the_key::invalidate(&owned, 1));
    assert_eq!(beside_the_key::peek("a", 1), Some("str1".into()));
    assert!(one_of_two::invalidate::<str>(&owned));
    assert_eq!(one_of_two::stats().entries, 1);
}

#[test]
fn the_parameters_of_an_impl_of_a_generic_trait_tell_calls_apart() {
    trait Unit {
        const NAME: &'static str;
    }
    struct Metre;
    struct Foot;
    impl Unit for Metre {
        const NAME: &'static str = "m";
    }
    impl Unit for Foot {
        const NAME: &'static str = "ft";
    }
    trait Label<U: Unit> {
        fn label(&self, n: u32) -> String;
        fn make(n: u32) -> String;
        #[cached(skip(self))]
        fn by_default(&self, n: u32) -> String {
            format!("{n} {}", U::NAME)
        }
    }
    struct Labels;
    impl<U: Unit> Label<U> for Labels {
        #[cached(skip(self))]
        fn label(&self, n: u32) -> String {
            format!("{n} {}", U::NAME)
        }
        #[cached]
        fn make(n: u32) -> String {
            format!("{n} {}", U::NAME)
        }
    }
    fn all<U: Unit>() -> [String; 3]
    where
        Labels: Label<U>,
    {
        [Labels.label(1), <Labels as Label<U>>::make(1), Labels.by_default(1)]
    }
    let _own = testing::isolated();
    for _ in 0..2 {
        assert_eq!(all::<Metre>(), ["1 m", "1 m", "1 m"]);
        assert_eq!(all::<Foot>(), ["1 ft", "1 ft", "1 ft"]);
    }
}

#[test]
fn names_of_borrowed_types_are_seen_through() {
    type Text<'a> = Cow<'a, str>;
    type Maybe<T> = Option<T>;
    type Name<'a> = &'a str;
    #[cached]
    fn all(text: Text<'_>, maybe: Maybe<&str>, name: Name<'_>, pair: (Text<'_>, u8)) -> usize {
        text.len() + maybe.map_or(0, str::len) + name.len() + pair.0.len()
    }
    let _own = testing::isolated();
    for _ in 0..2 {
        assert_eq!(all("a".into(), Some("b"), "c", ("d".to_owned().into(), 1)), 4);
    }
    assert_eq!(all::stats().hits, 1);
}

#[test]
fn a_free_function_may_have_an_impl_in_its_body() {
    #[cached]
    fn outer(n: u32) -> u32 {
        struct Inner(u32);
        impl Inner {
            fn new(n: u32) -> Self {
                Self(n)
            }
        }
        Inner::new(n).0 + 1
    }
    let _own = testing::isolated();
    assert_eq!((outer(1), outer::peek(1)), (2, Some(2)));
}

struct Chunks<T, const N: usize>(T);

impl<T: Copy, const N: usize> Chunks<T, { N }> {
    #[cached]
    fn size(n: usize) -> usize {
        n * N
    }

    fn first(&self) -> T {
        self.0
    }
}

#[test]
fn braces_in_the_header_of_an_impl_do_not_end_it() {
    let _own = testing::isolated();
    assert_eq!((Chunks::<u8, 2>::size(3), Chunks::<u8, 4>::size(3), Chunks::<u8, 1>(7).first()), (6, 12, 7));
}

#[derive(Clone, Hash, PartialEq, Eq)]
struct Repo {
    id: u32,
}

impl Repo {
    #[cached(timeout = 60, skip(self))]
    fn skipping(&self, n: u32) -> u32 {
        self.id * 100 + n
    }

    #[cached(key = (self.id, n))]
    fn keyed(&self, n: u32) -> u32 {
        self.id * 100 + n
    }

    #[cached]
    fn whole(&self, n: u32) -> u32 {
        self.id * 100 + n
    }

    #[cached]
    fn by_value(self, n: u32) -> u32 {
        self.id * 100 + n
    }

    #[cached(skip(self))]
    fn mutable(&mut self, n: u32) -> u32 {
        self.id += 1;
        n
    }

    #[cached]
    fn in_arc(self: Arc<Self>, n: u32) -> u32 {
        self.id * 100 + n
    }

    #[cached]
    fn without_self(n: u32) -> u32 {
        n + 1
    }

    #[cached]
    fn returning_self(id: u32) -> Self {
        Self { id }
    }
}

#[test]
fn a_method_keys_self_as_it_says() {
    let _own = testing::isolated();
    let (one, two) = (Repo { id: 1 }, Repo { id: 2 });
    assert_eq!((one.skipping(5), two.skipping(5)), (105, 105));
    assert_eq!((one.keyed(5), two.keyed(5)), (105, 205));
    assert_eq!((one.whole(5), two.whole(5)), (105, 205));
    assert_eq!((one.clone().by_value(5), two.clone().by_value(5)), (105, 205));
    assert_eq!((Arc::new(one).in_arc(5), Arc::new(two).in_arc(5)), (105, 205));
    let mut three = Repo { id: 3 };
    assert_eq!((three.mutable(1), three.mutable(1), three.id), (1, 1, 4));
    assert_eq!((Repo::without_self(1), Repo::without_self(1)), (2, 2));
    assert_eq!(Repo::returning_self(9).id, 9);
}

struct Holder<T>(T);

impl<T: Debug> Holder<T> {
    #[cached(skip(self))]
    fn kind(&self, n: u8) -> String {
        format!("{:?} {n}", self.0)
    }

    #[cached]
    fn kind_without_self(n: u8) -> String {
        format!("{} {n}", std::any::type_name::<T>())
    }
}

trait Describe {
    fn describe(&self, n: u8) -> String;

    #[cached(skip(self))]
    fn by_default(&self, n: u8) -> String {
        format!("{} {n}", self.describe(n))
    }

    fn make(n: u8) -> String;
}

impl Describe for u8 {
    #[cached]
    fn describe(&self, n: u8) -> String {
        format!("u8 {self} {n}")
    }

    #[cached]
    fn make(n: u8) -> String {
        format!("u8 {n}")
    }
}

impl<T: Debug> Describe for Vec<T>
where
    T: Clone + Hash + Eq + Send + Sync + 'static,
{
    #[cached]
    fn describe(&self, n: u8) -> String {
        format!("vec {self:?} {n}")
    }

    #[cached]
    fn make(n: u8) -> String {
        format!("vec of {} {n}", std::any::type_name::<T>())
    }
}

#[test]
fn methods_of_traits_and_generic_impls_keep_their_types_apart() {
    let _own = testing::isolated();
    for _ in 0..2 {
        assert_eq!((Holder(1_u8).kind(1), Holder("a").kind(1)), ("1 1".into(), "\"a\" 1".into()));
        assert_eq!(
            (Holder::<u8>::kind_without_self(1), Holder::<i8>::kind_without_self(1)),
            ("u8 1".into(), "i8 1".into())
        );
        assert_eq!((1_u8.describe(1), vec![1_u8].describe(1)), ("u8 1 1".into(), "vec [1] 1".into()));
        assert_eq!((1_u8.by_default(1), vec![1_u8].by_default(1)), ("u8 1 1 1".into(), "vec [1] 1 1".into()));
        assert_eq!((u8::make(1), Vec::<u8>::make(1)), ("u8 1".into(), "vec of u8 1".into()));
    }
}

#[test]
fn unsafe_and_extern_functions_stay_what_they_are() {
    let _own = testing::isolated();
    assert_eq!(foreign(1), 2);
    assert_eq!(foreign(1), 2);
    assert_eq!(foreign::stats().hits, 1);
}

#[cached]
extern "C" fn foreign(n: u32) -> u32 {
    n + 1
}

#[test]
fn lifetimes_and_bounds_stay_as_they_are() {
    #[cached]
    fn longest<'a, 'b>(one: &'a str, other: &'b str) -> Arc<str>
    where
        'b: 'a,
    {
        if one.len() > other.len() { one.into() } else { other.into() }
    }
    let _own = testing::isolated();
    assert_eq!(&*longest("a", "bb"), "bb");
    assert!(longest::invalidate("a", "bb"));
}

#[test]
fn results_options_and_their_aliases_store_successes_only() {
    struct NotClone;
    type Fallible<T> = Result<T, NotClone>;
    type Row = Option<u8>;
    static RUNS: Runs = Runs::new();
    #[cached]
    fn fallible(ok: bool) -> Fallible<u8> {
        RUNS.add();
        if ok { Ok(1) } else { Err(NotClone) }
    }
    #[cached]
    fn row(there: bool) -> Row {
        RUNS.add();
        there.then_some(1)
    }
    #[cached]
    fn neither(n: u8) -> std::collections::HashMap<u8, Result<u8, String>> {
        [(n, Err("e".to_owned()))].into()
    }
    let _own = testing::isolated();
    for _ in 0..2 {
        assert!(fallible(true).is_ok() && fallible(false).is_err());
        assert!(row(true).is_some() && row(false).is_none());
        assert_eq!(neither(1).len(), 1);
    }
    assert_eq!(RUNS.get(), 2 * 3);
    assert_eq!(neither::stats().hits, 1);
}

#[test]
fn nested_functions_with_the_same_name_do_not_mix() {
    mod other {
        #[cached_runtime::cached]
        pub(crate) fn get(n: u8) -> &'static str {
            let _ = n;
            "other"
        }
    }
    #[cached]
    fn get(n: u8) -> &'static str {
        let _ = n;
        "this"
    }
    let _own = testing::isolated();
    for _ in 0..2 {
        assert_eq!((get(1), other::get(1)), ("this", "other"));
    }
}

#[test]
fn a_trait_of_everything_with_names_like_ours_changes_nothing() {
    trait Everything {
        fn view(&self) -> u8 {
            0
        }
        fn outcome(&self) -> u8 {
            0
        }
    }
    impl<T: ?Sized> Everything for T {}
    #[cached(timeout = 60, cache_if = |n| *n > 0)]
    fn f(n: u8, text: &str) -> Result<u8, String> {
        Ok(n + text.view() + n.outcome())
    }
    let _own = testing::isolated();
    assert_eq!((f(1, "a"), f(1, "a")), (Ok(1), Ok(1)));
    assert_eq!(f::stats().hits, 1);
}
