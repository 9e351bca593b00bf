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
    let _own = testing::isolated();
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
    let _own = testing::isolated();
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
