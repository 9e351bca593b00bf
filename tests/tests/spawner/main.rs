//! Where `async` functions compute anew, as one spawner for the whole process says; by itself, since it does.

mod schedules;

use std::cell::Cell;
use std::future::{Future, ready};
use std::pin::{Pin, pin};
use std::sync::Mutex;
use std::task::Poll;
use std::time::Duration;

use cached_runtime::{cached, set_spawner, testing};
use cached_tests::{Runs, eventually as until, poll_once};

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What the spawner of this process does with tasks of this thread.
#[derive(Clone, Copy)]
enum Spawns {
    Drops,
    Panics,
    Keeps,
    Runs,
}

thread_local! {
    static SPAWNS: Cell<Spawns> = const { Cell::new(Spawns::Drops) };
    static KEPT: Cell<Vec<Task>> = const { Cell::new(Vec::new()) };
}

fn spawner(spawns: Spawns) {
    static ONCE: Mutex<bool> = Mutex::new(false);
    SPAWNS.set(spawns);
    if std::mem::replace(&mut *ONCE.lock().unwrap(), true) {
        return;
    }
    set_spawner(|task| match SPAWNS.get() {
        Spawns::Drops => drop(task),
        Spawns::Panics => panic!("on purpose"),
        Spawns::Keeps => {
            let mut kept = KEPT.take();
            kept.push(task);
            KEPT.set(kept);
        }
        Spawns::Runs => drop(std::thread::spawn(|| smol::block_on(task))),
    });
}

fn done<F: Future>(future: F) -> F::Output {
    match poll_once(pin!(future)) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("nothing here waits"),
    }
}

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn the_spawner_is_given_what_is_to_be_computed() {
    static RUNS: Runs = Runs::new();
    #[cached(timeout = 60, stale_while_revalidate = 60)]
    async fn f(n: &str) -> String {
        format!("{n}{}", RUNS.add())
    }
    spawner(Spawns::Runs);
    let own = testing::isolated();
    done(f("a"));
    own.advance(MINUTE);
    assert_eq!(done(f("a")), "a1");
    until(|| done(f::peek("a")).is_some_and(|it| it == "a2"));
}

#[test]
fn a_task_that_is_dropped_or_lost_in_a_panic_is_tried_again_and_harms_nobody() {
    static RUNS: Runs = Runs::new();
    #[cached(timeout = 60, stale_while_revalidate = 60)]
    async fn f() -> u32 {
        RUNS.add()
    }
    let own = testing::isolated();
    done(f());
    own.advance(MINUTE);
    for spawns in [Spawns::Drops, Spawns::Panics, Spawns::Drops] {
        spawner(spawns);
        assert_eq!(done(f()), 1);
    }
    assert_eq!((RUNS.get(), done(f::stats()).revalidations), (1, 3));
    own.advance(MINUTE);
    assert_eq!(done(f()), 2, "past its window the caller computes");
}

#[test]
fn a_task_that_begins_too_late_computes_nothing() {
    static RUNS: Runs = Runs::new();
    #[cached(timeout = 60, stale_while_revalidate = 60)]
    async fn f(n: u8) -> u32 {
        let _ = n;
        RUNS.add()
    }
    spawner(Spawns::Keeps);
    let own = testing::isolated();
    let keep = |n| {
        done(f(n));
        own.advance(MINUTE);
        done(f(n));
        done(f(n));
        let mut kept = KEPT.take();
        assert_eq!(kept.len(), 1, "one of them, for all calls");
        kept.remove(0)
    };
    let task = keep(0);
    done(f::invalidate(0));
    done(task);
    assert_eq!(RUNS.get(), 1, "after an invalidation");
    let task = keep(1);
    own.advance(MINUTE);
    assert_eq!(done(f(1)), 3, "past its window the caller computes");
    done(task);
    assert_eq!(RUNS.get(), 3);
    let task = keep(2);
    cached_runtime::store().set_enabled(false);
    done(task);
    cached_runtime::store().set_enabled(true);
    assert_eq!(RUNS.get(), 4);
}

#[test]
fn a_panic_of_the_body_does_not_reach_the_executor() {
    static RUNS: Runs = Runs::new();
    #[cached(timeout = 60, stale_while_revalidate = 60)]
    async fn f() -> u32 {
        assert!(RUNS.add() != 2, "on purpose");
        RUNS.get()
    }
    spawner(Spawns::Keeps);
    let own = testing::isolated();
    done(f());
    own.advance(MINUTE);
    done(f());
    done(KEPT.take().remove(0));
    assert_eq!(done(f::stats()).abandoned, 1);
    own.advance(Duration::from_secs(1));
    done(f());
    done(KEPT.take().remove(0));
    assert_eq!(done(f::peek()), Some(3));
}

#[test]
fn a_method_s_future_is_spawned_too() {
    #[derive(Clone)]
    struct Repo(u8);
    impl Repo {
        #[cached(timeout = 60, stale_while_revalidate = 60, key = (self.0, id))]
        async fn load(&self, id: &str) -> String {
            ready(format!("{}{id}", self.0)).await
        }
    }
    spawner(Spawns::Keeps);
    let own = testing::isolated();
    done(Repo(1).load("a"));
    own.advance(MINUTE);
    assert_eq!(done(Repo(1).load("a")), "1a");
    done(KEPT.take().remove(0));
    own.advance(Duration::from_secs(59));
    assert_eq!((done(Repo(1).load("a")), KEPT.take().len()), ("1a".to_owned(), 0));
}
