//! `async fn`, on every runtime: tokio with many threads and with one, and smol.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};

use cached_runtime::{cached, testing};
use cached_tests::{Runs, watched};

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;
/// Spawns a task; awaiting what is returned joins it.
type Spawn = fn(Task) -> Task;

/// Runs a test on every runtime, each time in a store of its own.
fn everywhere<F: Future<Output = ()> + Send + 'static>(
    test: impl Fn(testing::Isolated, Spawn) -> F + Send + 'static,
) {
    watched(move || everywhere_unwatched(test));
}

fn everywhere_unwatched<F: Future<Output = ()> + Send + 'static>(
    test: impl Fn(testing::Isolated, Spawn) -> F,
) {
    let on_tokio: Spawn = |task| Box::pin(async { tokio::spawn(task).await.unwrap() });
    let on_smol: Spawn = |task| Box::pin(smol::spawn(task));
    let run = |spawn| {
        let store = testing::isolated().store();
        store.clone().run(test(store, spawn))
    };
    tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap().block_on(run(on_tokio));
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(run(on_tokio));
    smol::block_on(run(on_smol));
}

/// Lets others run.
async fn yield_now() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        yield_now().await;
    }
}

/// Polls a future once.
async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    poll_fn(|context| {
        Poll::Ready(match future.as_mut().poll(context) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        })
    })
    .await
}

/// Spawns so many tasks at once and joins them.
async fn together(store: &testing::Isolated, spawn: Spawn, count: usize, task: impl Fn(usize) -> Task) {
    let tasks: Vec<_> = (0..count).map(|number| spawn(Box::pin(store.run(task(number))))).collect();
    // smol's run from when they are spawned, tokio's from when these are first polled.
    let mut joined: Vec<_> = tasks.into_iter().map(Some).collect();
    poll_fn(|context| {
        for task in &mut joined {
            if let Some(waiting) = task
                && waiting.as_mut().poll(context).is_ready()
            {
                *task = None;
            }
        }
        if joined.iter().all(Option::is_none) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

#[test]
fn sixty_four_tasks_on_one_cold_key_run_one_body() {
    static RUNS: Runs = Runs::new();
    #[cached(timeout = 60)]
    async fn f(n: u8) -> Result<u32, String> {
        until_all_have_missed().await;
        if n == 0 {
            return Err("zero".to_owned());
        }
        let run: u32 = Ok::<_, String>(RUNS.add())?;
        Ok(run)
    }
    async fn until_all_have_missed() {
        while f::stats().await.misses < 64 {
            yield_now().await;
        }
    }
    everywhere(|store, spawn| async move {
        let before = RUNS.get();
        together(&store, spawn, 64, |_| {
            Box::pin(async move {
                assert!(f(1).await.is_ok());
            })
        })
        .await;
        assert_eq!((RUNS.get() - before, f::stats().await.coalesced), (1, 63));
    });
}

#[test]
fn a_leader_that_is_dropped_leaves_its_place_to_those_who_wait() {
    static RUNS: Runs = Runs::new();
    #[cached(skip(go_on))]
    async fn f(n: u8, go_on: &'static AtomicBool) -> u32 {
        let _ = n;
        let run = RUNS.add();
        until(|| go_on.load(SeqCst)).await;
        run
    }
    everywhere(|_, _| async move {
        let go_on: &AtomicBool = Box::leak(Box::default());
        let before = RUNS.get();
        let mut leader = Box::pin(f(1, go_on));
        assert!(poll_once(leader.as_mut()).await.is_none());
        let (mut one, mut other) = (pin!(f(1, go_on)), pin!(f(1, go_on)));
        assert!(poll_once(one.as_mut()).await.is_none() && poll_once(other.as_mut()).await.is_none());
        assert_eq!(RUNS.get() - before, 1);
        drop(leader);
        assert!(poll_once(one.as_mut()).await.is_none());
        assert_eq!(RUNS.get() - before, 2);
        go_on.store(true, SeqCst);
        assert_eq!((one.await - before, other.await - before), (2, 2));
        assert_eq!(f::stats().await.abandoned, 1);
    });
}

#[test]
fn dropping_one_that_waits_disturbs_nobody() {
    static RUNS: Runs = Runs::new();
    #[cached(skip(go_on))]
    async fn f(n: u8, go_on: &'static AtomicBool) -> u32 {
        until(|| go_on.load(SeqCst)).await;
        RUNS.add();
        u32::from(n)
    }
    everywhere(|_, _| async move {
        let go_on: &AtomicBool = Box::leak(Box::default());
        let before = RUNS.get();
        let mut leader = pin!(f(1, go_on));
        let mut gone = Box::pin(f(1, go_on));
        let mut stays = pin!(f(1, go_on));
        assert!(poll_once(leader.as_mut()).await.is_none());
        assert!(poll_once(gone.as_mut()).await.is_none());
        assert!(poll_once(stays.as_mut()).await.is_none());
        drop(gone);
        go_on.store(true, SeqCst);
        assert_eq!((leader.await, stays.await, RUNS.get() - before), (1, 1, 1));
    });
}

#[test]
fn a_leader_that_is_kept_and_never_polled_again_holds_nobody_up() {
    static RUNS: Runs = Runs::new();
    #[cached]
    async fn f(n: u8) -> u32 {
        let run = RUNS.add();
        yield_now().await;
        let _ = n;
        run
    }
    everywhere(|_, _| async move {
        let before = RUNS.get();
        let mut kept = pin!(f(1));
        assert!(poll_once(kept.as_mut()).await.is_none());
        assert_eq!(f(1).await - before, 2);
        assert_eq!(kept.await - before, 1, "and it can still be awaited");
    });
}

#[test]
fn a_leader_that_was_given_up_and_is_polled_later_replaces_nothing() {
    static RUNS: Runs = Runs::new();
    #[cached]
    async fn f(n: u8) -> u32 {
        let run = RUNS.add();
        yield_now().await;
        let _ = n;
        run
    }
    watched(|| {
        everywhere(|_, _| async move {
            let before = RUNS.get();
            let mut kept = pin!(f(1));
            assert!(poll_once(kept.as_mut()).await.is_none());
            assert_eq!(f(1).await - before, 2);
            assert_eq!(kept.await - before, 1);
            assert_eq!(f::peek(1).await.map(|run| run - before), Some(2), "the newer one");
            assert_eq!(f::stats().await.not_stored, 1);
        });
    });
}

#[test]
fn after_a_leader_was_given_up_the_others_wait_for_the_next_one() {
    static RUNS: Runs = Runs::new();
    #[cached]
    async fn f(n: u8) -> u32 {
        let run = RUNS.add();
        if run % 2 == 1 {
            yield_now().await;
        } else {
            // All of the others have come.
            while f::stats().await.misses < 21 {
                yield_now().await;
            }
        }
        let _ = n;
        run
    }
    watched(|| {
        everywhere(|store, spawn| async move {
            let before = RUNS.get();
            let mut kept = pin!(f(1));
            assert!(poll_once(kept.as_mut()).await.is_none());
            together(&store, spawn, 20, |_| {
                Box::pin(async move {
                    assert_eq!(f(1).await - before, 2);
                })
            })
            .await;
            assert_eq!((RUNS.get() - before, f::stats().await.coalesced), (2, 19));
        });
    });
}

#[test]
fn a_leader_that_is_polled_for_long_and_woken_meanwhile_is_waited_for() {
    static RUNS: Runs = Runs::new();
    #[cached]
    async fn f(n: u8) -> u8 {
        RUNS.add();
        // The others wait.
        while f::stats().await.misses < 8 {
            yield_now().await;
        }
        poll_fn(|context| {
            context.waker().wake_by_ref();
            // Longer than a leader that is woken has to be polled again.
            std::thread::sleep(std::time::Duration::from_millis(1200));
            Poll::Ready(())
        })
        .await;
        n
    }
    watched(|| {
        let own = testing::isolated();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap();
        runtime.block_on(async {
            let store = own.store();
            let tasks: Vec<_> = (0..8).map(|_| tokio::spawn(store.run(f(1)))).collect();
            for task in tasks {
                assert_eq!(task.await.unwrap(), 1);
            }
            assert_eq!((RUNS.get(), f::stats().await.coalesced), (1, 7));
        });
    });
}

#[test]
fn a_call_within_its_own_body_stores_what_it_computes() {
    static DEPTH: Runs = Runs::new();
    #[cached]
    async fn f(n: u32) -> u32 {
        if DEPTH.add() > 1 {
            return n;
        }
        let inner = Box::pin(f(n)).await;
        assert_eq!((inner, f::peek(n).await, f::stats().await.bypassed), (n, Some(n), 0));
        inner + 1
    }
    watched(|| {
        let _own = testing::isolated();
        assert_eq!(smol::block_on(f(1)), 2);
        assert_eq!(smol::block_on(f::peek(1)), Some(2));
    });
}

#[test]
fn a_leader_that_is_not_woken_is_at_work_and_is_waited_for() {
    static RUNS: Runs = Runs::new();
    static GO_ON: AtomicBool = AtomicBool::new(false);
    #[cached]
    async fn f(n: u8) -> u32 {
        RUNS.add();
        // Not woken by anything but its caller's own polls.
        poll_fn(|_| if GO_ON.load(SeqCst) { Poll::Ready(()) } else { Poll::Pending }).await;
        u32::from(n)
    }
    let _own = testing::isolated();
    smol::block_on(async {
        let mut leader = pin!(f(1));
        let mut waits = pin!(f(1));
        for _ in 0..1000 {
            assert!(poll_once(leader.as_mut()).await.is_none() && poll_once(waits.as_mut()).await.is_none());
        }
        GO_ON.store(true, SeqCst);
        assert_eq!((leader.await, waits.await, RUNS.get()), (1, 1, 1));
    });
}

#[test]
fn a_body_may_await_its_own_function_with_its_own_key() {
    static DEPTH: Runs = Runs::new();
    #[cached]
    async fn f(n: u32) -> u32 {
        yield_now().await;
        if DEPTH.add().is_multiple_of(5) { n } else { Box::pin(f(n)).await + 1 }
    }
    everywhere(|_, _| async {
        assert_eq!(f(1).await, 5);
        assert_eq!(f(1).await, 5);
    });
}

#[test]
fn tasks_that_wait_for_one_another_in_a_circle_go_on() {
    #[cached]
    async fn a(round: u32, depth: u32) -> u32 {
        yield_now().await;
        if depth == 0 { 0 } else { Box::pin(b(round, depth - 1)).await + 1 }
    }
    #[cached(key = round)]
    async fn b(round: u32, depth: u32) -> u32 {
        yield_now().await;
        if depth == 0 { 0 } else { Box::pin(c(round, depth - 1)).await + 1 }
    }
    #[cached(key = round)]
    async fn c(round: u32, depth: u32) -> u32 {
        yield_now().await;
        if depth == 0 { 0 } else { Box::pin(b(round, depth - 1)).await + 1 }
    }
    everywhere(|store, spawn| async move {
        together(&store, spawn, 3, |number| {
            Box::pin(async move {
                for round in 0..4_000 {
                    match number {
                        0 => a(round, 3).await,
                        1 => b(round, 3).await,
                        _ => c(round, 3).await,
                    };
                }
            })
        })
        .await;
    });
}

#[test]
fn the_future_of_a_call_can_be_sent_where_its_body_can() {
    fn can_be_sent<T: Send>(value: T) -> T {
        value
    }
    #[cached]
    async fn f(text: &str) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
        yield_now().await;
        Ok(text.parse::<u32>()?.to_string())
    }
    #[cached(skip(local))]
    async fn g(n: u32, local: Rc<u32>) -> u32 {
        yield_now().await;
        n + *local
    }
    let _own = testing::isolated();
    smol::block_on(async {
        assert_eq!(can_be_sent(f("1")).await.unwrap(), "1");
        assert!(can_be_sent(f("x")).await.is_err());
        assert_eq!(can_be_sent(f::peek("1")).await.unwrap().unwrap(), "1");
        assert!(can_be_sent(f::invalidate("1")).await);
        assert_eq!(can_be_sent(f::refresh("1")).await.unwrap(), "1");
        assert_eq!(g(1, Rc::new(2)).await, 3);
    });
}

struct Repo {
    id: u32,
}

trait Load {
    fn name(&self) -> impl Future<Output = String> + Send;
}

impl Repo {
    #[cached(timeout = 60, key = (self.id, n), handle = load_cache)]
    async fn load(&self, n: u32) -> u32 {
        yield_now().await;
        self.id * 100 + n
    }
}

impl Load for Repo {
    #[cached(skip(self))]
    async fn name(&self) -> String {
        yield_now().await;
        format!("repo {}", self.id)
    }
}

#[test]
fn async_methods_and_companions_do_what_the_others_do() {
    #[cached(skip(suffix))]
    async fn f(n: u32, suffix: &str) -> String {
        yield_now().await;
        format!("{n}{suffix}")
    }
    everywhere(|_, _| async {
        assert_eq!(f(1, "a").await, "1a");
        assert_eq!(f(1, "b").await, "1a");
        assert_eq!(f::uncached(1, "c").await, "1c");
        assert_eq!(f::refresh(1, "d").await, "1d");
        assert_eq!(f::peek(1).await.as_deref(), Some("1d"));
        f::put(1, "put".to_owned()).await;
        assert_eq!(f(1, "e").await, "put");
        assert!(f::invalidate(1).await);
        f::clear().await;
        assert_eq!(f::stats().await.hits, 2);

        let repo = Repo { id: 2 };
        assert_eq!(repo.load(1).await, 201);
        assert_eq!(repo.load_cache(1).peek().await, Some(201));
        repo.load_cache(1).put(7).await;
        assert_eq!((repo.load(1).await, repo.load_cache(1).refresh().await), (7, 201));
        assert!(repo.load_cache(1).invalidate().await);
        assert_eq!(
            (repo.name().await, Repo { id: 3 }.name().await),
            ("repo 2".to_owned(), "repo 2".to_owned())
        );
    });
}

#[test]
fn a_panic_in_a_task_is_that_task_s_alone() {
    static RUNS: Runs = Runs::new();
    #[cached]
    async fn f(n: u8) -> u8 {
        while f::stats().await.misses < 8 {
            yield_now().await;
        }
        assert!(RUNS.add() > 1, "the first one");
        n
    }
    let own = testing::isolated();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let store = own.store();
    let panicked = runtime.block_on(async {
        let tasks: Vec<_> = (0..8).map(|_| tokio::spawn(store.run(f(1)))).collect();
        let mut panicked = 0;
        for task in tasks {
            panicked += u32::from(task.await.is_err());
        }
        panicked
    });
    assert_eq!((panicked, RUNS.get()), (1, 2));
}

#[test]
fn a_stale_value_is_served_at_once_and_computed_anew_elsewhere() {
    static RUNS: Runs = Runs::new();
    #[cached(timeout = 60, stale_while_revalidate = 60)]
    async fn f(n: &str) -> Result<u32, Box<dyn std::error::Error + Send + Sync>> {
        let _ = n;
        yield_now().await;
        Ok(RUNS.add())
    }
    everywhere(|store, spawn| async move {
        let first = f("a").await.unwrap();
        testing::advance(std::time::Duration::from_secs(60));
        together(&store, spawn, 64, move |_| {
            Box::pin(async move { assert!(f("a").await.unwrap() <= first + 1) })
        })
        .await;
        until_async(|| async { matches!(f::peek("a").await, Some(Ok(it)) if it == first + 1) }).await;
        assert_eq!((RUNS.get(), f::stats().await.revalidations), (first + 1, 1));
    });
}

async fn until_async<F: Future<Output = bool>>(condition: impl Fn() -> F) {
    while !condition().await {
        yield_now().await;
    }
}

#[test]
fn a_stale_value_stands_in_for_an_error_or_a_panic() {
    static FAILS: AtomicBool = AtomicBool::new(false);
    #[cached(timeout = 60, stale_if_error = 60)]
    async fn f(panics: bool) -> Result<bool, Rc<()>> {
        yield_now().await;
        match (FAILS.load(SeqCst), panics) {
            (false, _) => Ok(panics),
            (true, false) => Err(Rc::new(())),
            (true, true) => panic!("on purpose"),
        }
    }
    let own = testing::isolated();
    smol::block_on(async {
        assert_eq!((f(true).await, f(false).await), (Ok(true), Ok(false)));
        FAILS.store(true, SeqCst);
        own.advance(std::time::Duration::from_secs(60));
        assert_eq!((f(true).await, f(false).await), (Ok(true), Ok(false)));
        assert_eq!(f::stats().await.errors_hidden, 2);
    });
}

#[test]
fn a_task_waits_for_a_new_value_no_longer_than_it_says() {
    static RUNS: Runs = Runs::new();
    static RELEASED: AtomicBool = AtomicBool::new(false);
    #[cached(timeout = 60, stale_while_revalidate = 60, max_wait = "1ms")]
    async fn impatient() -> u32 {
        let run = RUNS.add();
        until(|| run == 1 || RELEASED.load(SeqCst)).await;
        run
    }
    #[cached(timeout = 60, stale_while_revalidate = 60, max_wait = "1h")]
    async fn patient(n: u64) -> u64 {
        yield_now().await;
        n + patient::stats().await.misses
    }
    let own = testing::isolated();
    smol::block_on(async {
        assert_eq!((impatient().await, patient(0).await), (1, 1));
        own.advance(std::time::Duration::from_secs(60));
        assert_eq!((impatient().await, impatient().await, patient(0).await), (1, 1, 1));
        RELEASED.store(true, SeqCst);
        until_async(|| async { impatient::peek().await == Some(2) }).await;
        assert_eq!((patient::stats().await.coalesced, patient::stats().await.stale), (1, 0));
    });
}

#[test]
fn nobody_waits_for_a_background_task_whose_runtime_is_idle() {
    static RUNS: Runs = Runs::new();
    #[cached(timeout = 60, stale_while_revalidate = 60)]
    async fn f() -> u32 {
        let run = RUNS.add();
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        run
    }
    let own = testing::isolated();
    let [idle, busy] =
        [(); 2].map(|()| tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap());
    assert_eq!(idle.block_on(f()), 1);
    own.advance(std::time::Duration::from_secs(60));
    // It gets as far as to its first await.
    let begin = async {
        assert_eq!(f().await, 1);
        until(|| RUNS.get() == 2).await;
        yield_now().await;
    };
    idle.block_on(begin);
    own.advance(std::time::Duration::from_secs(60));
    assert_eq!(busy.block_on(f()), 3);
    // What is late is not stored over what is newer.
    idle.block_on(async { tokio::time::sleep(std::time::Duration::from_millis(20)).await });
    assert_eq!(busy.block_on(f::peek()), Some(3));
}

#[test]
fn what_a_dropped_body_holds_is_gone_before_the_next_body_begins() {
    static HELD: AtomicBool = AtomicBool::new(false);
    /// Something that only one body may hold.
    struct Held(Arc<Woken>);
    impl Drop for Held {
        fn drop(&mut self) {
            assert!(!self.0.0.load(SeqCst), "nobody has been told to go on");
            HELD.store(false, SeqCst);
        }
    }
    #[derive(Default)]
    struct Woken(AtomicBool);
    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, SeqCst);
        }
    }
    #[cached(timeout = 60, key = n)]
    async fn plain(n: u32, waits: Arc<Woken>) -> u32 {
        assert!(!HELD.swap(true, SeqCst), "one at a time");
        let _held = Held(waits);
        yield_now().await;
        n
    }
    #[cached(timeout = 60, stale_if_error = 60, key = n)]
    async fn lenient(n: u32, waits: Arc<Woken>) -> Result<u32, ()> {
        Ok(plain(n, waits).await)
    }
    #[cached(timeout = 60, key = n, lease = "1h", backend = "memory://")]
    async fn shared(n: u32, waits: Arc<Woken>) -> u32 {
        assert!(!HELD.swap(true, SeqCst), "one at a time");
        let _held = Held(waits);
        yield_now().await;
        n
    }
    fn check<F: Future>(call: impl Fn(Arc<Woken>) -> F) {
        let woken = Arc::new(Woken::default());
        let context = &mut Context::from_waker(Waker::noop());
        let mut dropped = Box::pin(call(Arc::clone(&woken)));
        while !HELD.load(SeqCst) {
            assert!(dropped.as_mut().poll(context).is_pending());
        }
        let mut waits = Box::pin(call(Arc::default()));
        let waker = Waker::from(Arc::clone(&woken));
        assert!(waits.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        drop(dropped);
        assert!(woken.0.load(SeqCst));
        while waits.as_mut().poll(context).is_pending() {}
    }
    let _own = testing::isolated();
    check(|woken| plain(1, woken));
    check(|woken| lenient(2, woken));
    check(|woken| shared(3, woken));
}
