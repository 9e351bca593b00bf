//! Functions that change what others have cached: `#[invalidates]` and `#[updates]`.

use std::cell::Cell;
use std::error::Error;
use std::future::{Future, ready};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use cached_runtime::{Key, cached, invalidates, store, testing, updates};
use cached_tests::{Runs, poll_once};
use smol::block_on;

/// What the functions below read, and writers change.
mod users {
    use cached_runtime::cached;

    #[derive(Clone, Debug, PartialEq, Eq)]
    pub(super) struct User {
        pub(super) id: u64,
        pub(super) name: String,
    }

    pub(super) fn user(id: u64, name: &str) -> User {
        User { id, name: name.to_owned() }
    }

    #[cached]
    pub fn get(id: u64) -> User {
        user(id, "computed")
    }

    #[cached]
    pub fn by_name(name: &str) -> Result<User, std::io::Error> {
        Ok(user(1, name))
    }

    #[cached]
    pub fn owned(name: String) -> usize {
        name.len()
    }

    #[cached]
    pub fn list() -> Vec<u64> {
        vec![1]
    }

    #[cached]
    pub async fn page(id: u64) -> Option<String> {
        Some(format!("page {id}"))
    }

    /// Whether each of the keys is there, after all were computed.
    pub(super) fn fill(ids: &[u64]) {
        for id in ids {
            get(*id);
        }
        list();
    }

    pub(super) fn there(ids: &[u64]) -> Vec<bool> {
        ids.iter().map(|id| get::peek(*id).is_some()).collect()
    }
}
use users::{User, user};

#[test]
fn a_writer_that_succeeds_invalidates_what_it_names_and_nothing_else() {
    #[invalidates(users::get(id), users::list)]
    fn rename(id: u64) -> u64 {
        assert!(users::get::peek(id).is_some(), "not before its body");
        id + 1
    }
    let _own = testing::isolated();
    users::fill(&[1, 2]);
    assert_eq!(rename(1), 2);
    assert_eq!((users::there(&[1, 2]), users::list::peek()), (vec![false, true], None));
}

#[test]
fn success_is_told_by_type_through_aliases() {
    type Answer<T> = Result<T, String>;
    type Row = Option<u64>;
    #[invalidates(users::get(1))]
    fn result(good: bool) -> Answer<u64> {
        if !good {
            Err("bad".to_owned())?;
        }
        Ok(7)
    }
    #[invalidates(users::get(2))]
    fn option(good: bool) -> Row {
        good.then_some(7)
    }
    #[invalidates(users::get(3))]
    fn plain() -> Vec<Answer<u64>> {
        vec![Err("in a list".to_owned())]
    }
    let _own = testing::isolated();
    users::fill(&[1, 2, 3]);
    assert_eq!((result(false), option(false)), (Err("bad".to_owned()), None));
    assert_eq!(users::there(&[1, 2, 3]), [true; 3]);
    assert_eq!((result(true), option(true)), (Ok(7), Some(7)));
    assert_eq!(users::there(&[1, 2, 3]), [false, false, true]);
    plain();
    assert_eq!(users::there(&[3]), [false]);
}

#[test]
fn a_writer_that_panics_invalidates_nothing() {
    #[invalidates(users::get(id))]
    fn fails(id: u64) {
        panic!("in the body of {id}");
    }
    let _own = testing::isolated();
    users::fill(&[1]);
    assert!(std::panic::catch_unwind(|| fails(1)).is_err());
    assert_eq!(users::there(&[1]), [true]);
}

#[test]
fn early_returns_and_questions_are_as_in_any_function() {
    #[invalidates(users::get(id))]
    fn save(id: u64, text: &str) -> Result<u64, std::num::ParseIntError> {
        if text.is_empty() {
            return Ok(0);
        }
        Ok(text.parse::<u64>()? + 1)
    }
    let _own = testing::isolated();
    users::fill(&[1]);
    assert!(save(1, "x").is_err() && users::get::peek(1).is_some());
    assert_eq!((save(1, ""), users::get::peek(1)), (Ok(0), None));
    users::fill(&[1]);
    assert_eq!((save(1, "6"), users::get::peek(1)), (Ok(7), None));
}

fn consume<T>(_: T) {}

#[test]
fn arguments_are_there_although_the_body_has_used_them_up() {
    #[invalidates(users::get(user.id), users::by_name(&user.name), users::owned(user.name))]
    fn by_value(user: User) {
        consume(user);
    }
    #[invalidates(users::get(user.id), users::by_name(&user.name))]
    fn by_reference(user: &User) {
        consume(user);
    }
    #[invalidates(users::owned(name), users::by_name(&name), users::by_name(name.trim()))]
    fn text(name: String) {
        consume(name);
    }
    #[invalidates(users::get(*id), users::get(ids[0]), users::get(pair.0), users::get(first.id), users::get(2 * second))]
    fn places(
        id: &mut u64,
        ids: Vec<u64>,
        pair: (u64, String),
        User { id: second, .. }: User,
        first: Box<User>,
    ) {
        *id += 100;
        consume((ids, pair, first, second));
    }
    #[invalidates(users::by_name(&format!("{prefix}{}", 1)), users::get(id.into()), users::get("4".parse().unwrap()))]
    fn expressions(prefix: String, id: u32) {
        consume(prefix);
    }
    let _own = testing::isolated();
    let fill = || {
        users::fill(&[1, 2, 3, 4, 5, 10]);
        users::by_name("a").unwrap();
        users::by_name("a1").unwrap();
        users::owned("a".to_owned());
    };
    let named = || (users::by_name::peek("a").is_some(), users::owned::peek("a".to_owned()).is_some());
    fill();
    by_value(user(1, "a"));
    assert_eq!((users::there(&[1, 2]), named()), (vec![false, true], (false, false)));
    fill();
    by_reference(&user(1, "a"));
    assert_eq!((users::there(&[1, 2]), named()), (vec![false, true], (false, true)));
    fill();
    text("a".to_owned());
    assert_eq!((users::there(&[1]), named()), (vec![true], (false, false)));
    fill();
    places(&mut 1, vec![2], (3, String::new()), user(5, ""), Box::new(user(4, "")));
    assert_eq!(users::there(&[1, 2, 3, 4, 5, 10]), [false, false, false, false, true, false]);
    fill();
    expressions("a".to_owned(), 3);
    assert_eq!(
        (users::there(&[2, 3, 4]), users::by_name::peek("a1").is_some()),
        (vec![true, false, false], false)
    );
}

#[test]
fn what_the_body_takes_is_dropped_before_anything_is_invalidated() {
    /// Writes when it is dropped, as a transaction may.
    struct Commits;
    impl Drop for Commits {
        fn drop(&mut self) {
            assert!(users::get::peek(1).is_some());
        }
    }
    #[invalidates(users::get(1))]
    fn save(transaction: Commits) {
        let _ = &transaction;
    }
    let _own = testing::isolated();
    users::fill(&[1]);
    save(Commits);
    assert_eq!(users::there(&[1]), [false]);
}

#[test]
fn before_also_invalidates_ahead_of_the_body() {
    #[invalidates(before, users::get(id), users::by_name(&name), users::list, Repo::make_cache(id), tag("all"))]
    fn rename(id: u64, name: String) -> Option<()> {
        assert!(users::get::peek(id).is_none() && users::by_name::peek(&name).is_none());
        assert!(users::list::peek().is_none() && tagged::peek(id).is_none());
        assert!(Repo::make_cache(id).peek().is_none());
        users::fill(&[id]);
        consume(name);
        (id == 1).then_some(())
    }
    #[cached(tags("all"))]
    fn tagged(id: u64) -> u64 {
        id
    }
    let _own = testing::isolated();
    let fill = || {
        users::fill(&[1, 2]);
        users::by_name("a").unwrap();
        tagged(1);
        Repo::make(1);
    };
    fill();
    assert_eq!((rename(1, "a".to_owned()), users::there(&[1])), (Some(()), vec![false]));
    fill();
    Repo::make_cache(2).invalidate();
    tagged::clear();
    assert_eq!((rename(2, "a".to_owned()), users::there(&[2])), (None, vec![true]));
}

struct Repo {
    id: u64,
    runs: Runs,
}

impl Repo {
    fn new(id: u64) -> Self {
        Self { id, runs: Runs::new() }
    }

    #[cached(key = (self.id, name), handle = load_cache)]
    fn load(&self, name: &str) -> String {
        format!("{} {name} {}", self.id, self.runs.add())
    }

    #[cached(key = (self.id, name), handle = load_later_cache)]
    async fn load_later(&self, name: String) -> Result<String, String> {
        Ok(format!("{} {name} {}", self.id, self.runs.add()))
    }

    #[cached(handle = make_cache)]
    fn make(id: u64) -> u64 {
        id
    }

    #[invalidates(self.load_cache(name))]
    fn save(&self, name: &str) {
        consume(name);
    }

    #[invalidates(self.load_cache(&name), Self::make_cache(self.id))]
    fn save_mutably(&mut self, name: String) -> u64 {
        consume(name);
        self.id += 0;
        self.id
    }

    #[invalidates(self.load_cache("a"))]
    fn save_shared(self: Arc<Self>) -> u64 {
        self.id
    }

    #[invalidates(self.load_later_cache(name), <Self>::make_cache(self.id), users::page(self.id))]
    async fn save_later(&mut self, name: String) -> Result<(), Box<dyn Error>> {
        ready(()).await;
        consume(name);
        self.id += 1;
        Ok(())
    }

    #[updates(self.load_cache(name), self.load_later_cache(name.to_owned()))]
    async fn write(&self, name: &str) -> Result<String, std::fmt::Error> {
        Ok(format!("written {name}"))
    }
}

#[invalidates(Repo::make_cache(repo.id), repo.load_cache("a"))]
fn save_elsewhere(repo: Repo) -> u64 {
    repo.id
}

#[test]
fn methods_are_named_by_their_handles() {
    let _own = testing::isolated();
    let mut repo = Repo::new(7);
    let fill = |repo: &Repo| {
        repo.load("a");
        Repo::make(7);
    };
    let there =
        |id: u64| (Repo::new(id).load_cache("a").peek().is_some(), Repo::make_cache(7).peek().is_some());
    fill(&repo);
    repo.save("a");
    assert_eq!(there(7), (false, true));
    fill(&repo);
    assert_eq!((repo.save_mutably("a".to_owned()), there(7)), (7, (false, false)));
    fill(&repo);
    assert_eq!((Arc::new(Repo::new(7)).save_shared(), there(7)), (7, (false, true)));
    fill(&repo);
    assert_eq!((save_elsewhere(Repo::new(7)), there(7)), (7, (false, false)));
    block_on(async {
        fill(&repo);
        repo.load_later("b".to_owned()).await.unwrap();
        users::page(7).await;
        repo.save_later("b".to_owned()).await.unwrap();
        // Arguments are those from before the body; a handle is that of what `self` has become.
        assert_eq!((repo.id, users::page::peek(7).await, Repo::make_cache(7).peek()), (8, None, None));
        repo.id = 7;
        assert!(repo.load_later_cache("b".to_owned()).peek().await.is_some());
        repo.write("a").await.unwrap();
        assert_eq!(repo.load_cache("a").peek().as_deref(), Some("written a"));
        assert_eq!(repo.load_later("a".to_owned()).await.as_deref(), Ok("written a"));
    });
}

trait Writes<T> {
    fn put(&self, thing: T) -> Result<T, String>;
    #[invalidates(users::list)]
    fn touch(&self) {}
}

impl<T: Key + Clone + ToString> Writes<T> for Repo
where
    T: Sized,
{
    #[invalidates(describe(&thing), describe::<T>(&thing), shown::<str>(thing))]
    fn put(&self, thing: T) -> Result<T, String> {
        Ok(thing)
    }
}

#[cached]
fn describe<T: Key + ToString>(thing: &T) -> String {
    thing.to_string()
}

#[cached(skip(source))]
fn shown(source: &(impl ToString + ?Sized), thing: impl Key + ToString + Clone) -> String {
    source.to_string() + &thing.to_string()
}

#[test]
fn methods_of_traits_and_generic_ones_are_writers_too() {
    let _own = testing::isolated();
    describe(&7_u8);
    describe(&7_u16);
    users::list();
    let _ = Repo::new(1).put(7_u8);
    <Repo as Writes<u8>>::touch(&Repo::new(1));
    assert_eq!(
        (describe::peek(&7_u8), describe::peek(&7_u16).as_deref(), users::list::peek()),
        (None, Some("7"), None)
    );
}

#[invalidates(users::page(id), users::get(id), users::list, users::by_name(name.as_str()))]
async fn save_page(id: u64, name: String, fails: bool) -> Result<u64, Rc<str>> {
    ready(()).await;
    if fails {
        return Err("failed".into());
    }
    consume(name);
    Ok(id)
}

#[test]
fn an_async_writer_awaits_what_is_async_and_calls_what_is_not() {
    let _own = testing::isolated();
    let there =
        async || (users::page::peek(1).await.is_some(), users::there(&[1]), users::list::peek().is_some());
    block_on(async {
        users::page(1).await;
        users::fill(&[1]);
        assert!(save_page(1, String::new(), true).await.is_err());
        assert_eq!(there().await, (true, vec![true], true));
        save_page(1, String::new(), false).await.unwrap();
        assert_eq!(there().await, (false, vec![false], false));
    });
}

#[test]
fn a_future_that_is_dropped_invalidates_nothing() {
    #[invalidates(users::get(id))]
    async fn never(id: u64) {
        std::future::pending::<()>().await;
        consume(id);
    }
    let _own = testing::isolated();
    users::fill(&[1]);
    assert!(poll_once(pin!(never(1))).is_pending());
    assert_eq!(users::there(&[1]), [true]);
}

#[test]
fn the_future_is_as_sendable_as_it_would_be_without_the_attribute() {
    fn is_send<F: Future + Send>(_: F) {}
    /// An error that cannot be sent, and an argument that cannot be shared.
    #[updates(users::get(id))]
    #[invalidates(users::page(id), users::list, tag("user:{id}"))]
    async fn save(id: u64, seen: Cell<u64>) -> Result<User, Rc<str>> {
        ready(()).await;
        seen.set(id);
        Ok(user(id, "saved"))
    }
    is_send(save(1, Cell::new(0)));
    is_send(save_page(1, String::new(), false));
    is_send(Repo::new(1).save_later(String::new()));
    is_send(Repo::new(1).write(""));
}

#[test]
fn signatures_of_every_kind_stay_as_they_are() {
    #[invalidates(users::get(id))]
    fn unnamed(id: u64) -> impl Fn() -> u64 {
        move || id
    }
    #[invalidates(users::get(id))]
    fn borrowed(id: u64, text: &mut String) -> &mut str {
        text.push_str(&id.to_string());
        text
    }
    #[invalidates(users::get(*id))]
    fn lifetimes<'a>(id: &'a u64, _: &str) -> Result<&'a u64, std::convert::Infallible> {
        Ok(id)
    }
    #[invalidates(users::get(id))]
    unsafe fn dangerous(id: u64) -> u64 {
        id
    }
    #[invalidates(users::get(id))]
    fn partly_unnamed(
        id: u64,
        text: &str,
    ) -> Result<impl Iterator<Item = u64> + use<>, std::num::ParseIntError> {
        let number = text.parse::<u64>()?;
        Ok(std::iter::once(number + id))
    }
    #[invalidates(users::get(id))]
    async fn later(id: u64, text: &str) -> Result<&str, impl Error + use<>> {
        ready(()).await;
        text.parse::<u64>().map(|_| text)
    }
    #[invalidates(users::get(a), users::get(b))]
    #[must_use]
    fn pattern((a, b): (u64, u64), mut c: u64, _: &str) -> u64 {
        c += a + b;
        c
    }
    let _own = testing::isolated();
    users::fill(&[1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(unnamed(1)(), 1);
    assert_eq!(borrowed(2, &mut "a".to_owned()), "a2");
    assert_eq!(lifetimes(&3, ""), Ok(&3));
    // SAFETY: it does nothing.
    assert_eq!(unsafe { dangerous(4) }, 4);
    assert_eq!(pattern((5, 6), 1, ""), 12);
    assert!(partly_unnamed(7, "x").is_err() && users::get::peek(7).is_some());
    assert_eq!(partly_unnamed(7, "1").unwrap().collect::<Vec<_>>(), [8]);
    assert_eq!(block_on(later(8, "1")).unwrap(), "1");
    assert_eq!(users::there(&[1, 2, 3, 4, 5, 6, 7, 8]), [false; 8]);
}

#[test]
fn a_computation_that_began_before_the_writer_ended_is_not_stored() {
    #[invalidates(read(1))]
    fn write() {}
    #[cached]
    fn read(n: u64) -> u64 {
        // As if another thread did while this one has read the old value.
        write();
        n
    }
    let _own = testing::isolated();
    assert_eq!((read(1), read::peek(1)), (1, None));
}

#[test]
fn an_update_stores_what_the_writer_returned() {
    #[updates(users::get(user.id), users::by_name(&user.name))]
    fn save(user: User, fails: bool) -> Result<User, String> {
        if fails { Err("failed".to_owned()) } else { Ok(user) }
    }
    #[updates(users::get(id))]
    fn plain(id: u64) -> User {
        user(id, "plain")
    }
    #[updates(users::page(id))]
    async fn option(id: u64) -> Option<String> {
        (id > 0).then(|| "option".to_owned())
    }
    let _own = testing::isolated();
    assert!(save(user(1, "a"), true).is_err());
    assert_eq!((users::get::peek(1), users::by_name::peek("a").is_some()), (None, false));
    let saved = save(user(1, "a"), false).unwrap();
    assert_eq!((users::get(1), users::by_name("a").unwrap()), (saved.clone(), saved));
    assert_eq!(users::get::stats().computations + users::by_name::stats().computations, 0);
    assert_eq!((plain(2), users::get(2)), (user(2, "plain"), user(2, "plain")));
    block_on(async {
        assert_eq!((option(0).await, users::page::peek(0).await), (None, None));
        assert_eq!(
            (option(1).await, users::page::peek(1).await.flatten()),
            (Some("option".into()), Some("option".into()))
        );
    });
}

#[test]
fn what_an_update_does_not_store_does_not_leave_the_old_value_either() {
    #[cached(cache_if = |n| { assert!(*n != 13); *n > 0 })]
    fn positive(key: u8) -> Option<i64> {
        consume(key);
        Some(1)
    }
    #[updates(positive(1))]
    fn write(n: i64) -> Option<i64> {
        Some(n)
    }
    #[updates(positive(1))]
    fn write_nothing() -> Result<Option<i64>, String> {
        Ok(None)
    }
    let _own = testing::isolated();
    for (n, expected) in [(7, Some(Some(7))), (-7, None)] {
        positive(1);
        write(n);
        assert_eq!(positive::peek(1), expected);
    }
    positive(1);
    write_nothing().unwrap();
    assert_eq!(positive::peek(1), None);
    positive(1);
    assert!(std::panic::catch_unwind(|| write(13)).is_err());
    assert_eq!(positive::peek(1), None);
}

#[test]
fn several_attributes_and_several_targets_are_done_together() {
    #[cached(tags("user:{id}"))]
    fn orders(id: u64) -> u64 {
        id
    }
    #[updates(users::get(id))]
    #[invalidates(users::list, users::get(id))]
    #[invalidates(tag("user:{id}"), tag("user:{}", id + 1))]
    fn save(id: u64) -> User {
        user(id, "saved")
    }
    let _own = testing::isolated();
    users::list();
    (1..4).for_each(|id| assert_eq!(orders(id), id));
    save(1);
    assert_eq!((users::get::peek(1), users::list::peek()), (Some(user(1, "saved")), None));
    assert_eq!((orders::peek(1), orders::peek(2), orders::peek(3)), (None, None, Some(3)));
}

#[test]
fn a_store_that_is_switched_off_is_written_past_and_forgets_all_the_same() {
    #[updates(users::get(id))]
    fn save(id: u64) -> User {
        user(id, "saved")
    }
    let _own = testing::isolated();
    users::fill(&[1]);
    store().set_enabled(false);
    save(1);
    store().set_enabled(true);
    assert_eq!(users::get::peek(1), None);
}
