//! After `fork()`: the child has none of its parent's threads, and uses none of its connections.
#![cfg(all(target_os = "linux", feature = "redis", feature = "sqlite"))]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::time::Duration;
use std::{process, thread};

use cached_runtime::{Backend, cached, testing};
use cached_tests::servers::{Folder, Server};
use cached_tests::{PATIENCE, Reporting, Runs, eventually, reporting};
use fork::Fork;
use tokio::runtime::Builder;

static FILE_URL: OnceLock<String> = OnceLock::new();
static SERVER_URL: OnceLock<String> = OnceLock::new();
static FILE: Backend = Backend::driver("file", || driver(&FILE_URL));
static SERVER: Backend = Backend::driver("server", || driver(&SERVER_URL));

static RUNS: Runs = Runs::new();

fn driver(url: &OnceLock<String>) -> std::sync::Arc<dyn cached_runtime::backend::driver::Driver> {
    testing::driver(url.get().expect("it is set first"))
}

#[cached(timeout = "1h", backend = FILE)]
async fn offloaded(n: u32) -> u32 {
    RUNS.add();
    n
}

#[cached(timeout = "1h", backend = SERVER)]
async fn awaited(n: u32) -> u32 {
    RUNS.add();
    n
}

#[cached(timeout = "1h", backend = SERVER)]
fn blocking(n: u32) -> u32 {
    RUNS.add();
    n
}

#[cached(timeout = "1h", skip(make))]
fn kept(n: u64, make: impl Fn(u64) -> Reporting) -> Reporting {
    make(n)
}

/// Calls each of them, on each of the runtimes that a connection may be on; returns how many bodies have run.
fn call_all(n: u32) -> u32 {
    let before = RUNS.get();
    // Without I/O, connections are on a thread of the library.
    for builder in [Builder::new_current_thread().enable_all(), &mut Builder::new_current_thread()] {
        let runtime = builder.build().expect("a runtime");
        runtime.block_on(async { assert_eq!((offloaded(n).await, awaited(n).await), (n, n)) });
    }
    assert_eq!(blocking(n), n);
    RUNS.get() - before
}

/// Where the machine is slow, one or the other operation times out; not all of them for ever.
fn until_all_hit(n: u32) {
    eventually(|| call_all(n) == 0);
}

/// That what has expired is gone without a call: somebody removes it.
fn is_removed() {
    let own = testing::isolated();
    let (make, dropped) = reporting();
    drop(kept(1, make));
    own.advance(Duration::from_secs(3600));
    assert_eq!(dropped.recv_timeout(PATIENCE), Ok(1));
}

/// Whether none of the library's threads is at work.
fn are_at_rest() -> bool {
    let threads = std::fs::read_dir("/proc/self/task").expect("it is there").flatten();
    let states = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("stat")).ok());
    states.filter(|state| state.contains("(cached-")).all(|state| state.contains(") S "))
}

/// What the child does; it ends with what this returns.
fn child() {
    thread::spawn(|| {
        thread::sleep(PATIENCE / 3);
        process::exit(3);
    });
    until_all_hit(1);
    until_all_hit(2);
    is_removed();
}

#[test]
fn a_child_has_threads_and_connections_of_its_own() {
    let (folder, server) = (Folder::new(), Server::redis(&[]));
    let file = folder.path().join("cache.db");
    FILE_URL.set(format!("sqlite://{}", file.display())).expect("it is set once");
    SERVER_URL.set(format!("redis://{}", server.address())).expect("it is set once");
    until_all_hit(1);
    is_removed();
    let connections = || server.say(&["CLIENT", "LIST"]).matches("user=default").count();
    let before = connections();
    let ends = |_| {
        eventually(are_at_rest);
        match fork::fork().expect("a process") {
            Fork::Child => {
                let result = catch_unwind(AssertUnwindSafe(child));
                // A connection that is its own is there, and goes with it.
                let is_own = connections() > before;
                process::exit(if result.is_err() {
                    1
                } else if is_own {
                    0
                } else {
                    2
                });
            }
            Fork::Parent(child) => {
                let status = fork::waitpid(child).expect("it ends");
                if fork::WIFEXITED(status) { fork::WEXITSTATUS(status) } else { 4 }
            }
        }
    };
    // A thread that begins to work just then counts in the child as one that never ends what it reads, so that
    // nothing is given back there. That is rare.
    let codes: Vec<i32> = (0..3).map(ends).take_while(|code| *code != 0).collect();
    assert!(codes.len() < 3, "{codes:?}: 1: it failed; 2: it used others' connections; 3: it hung");
    eventually(|| connections() <= before);
    until_all_hit(3);
}
