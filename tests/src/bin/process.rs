//! A process of several that share a backend: it does what each line of its standard input says, which is a
//! word and a text in JSON, and says what comes of it in lines of the same kind.
//!
//! | it is told | it says |
//! |---|---|
//! | `call TEXT`, `hurry TEXT` | `got VALUE`; `body VALUE` before it, if that ran here. `hurry` has a lease of a second |
//! | `go ""` | nothing; bodies of texts that begin with `held` wait for it |
//! | `peek TEXT`, `hurried TEXT` | `is VALUE` or `is ""`, of the functions of `call` and of `hurry` |
//! | `invalidate TEXT` | `is ""` |
//! | `await TEXT`, `await-peek TEXT`, `await-invalidate TEXT` | the same of an `async` function |
//! | `misses ""`, `hits ""`, `overtaken ""` | `is NUMBER`, of both functions together |

use std::future::Future;
use std::io::stdin;
use std::pin::pin;
use std::process;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use cached_runtime::{Backend, Stats, cached};

static BACKEND: Backend = Backend::env("CACHED_TESTS_BACKEND", "null://");
static GONE: Mutex<bool> = Mutex::new(false);
static GO: Condvar = Condvar::new();

#[cached(timeout = "1h", name = "call", lease = "10s", backend = BACKEND)]
fn call(text: &str) -> String {
    body(text)
}

#[cached(timeout = "1h", name = "hurry", lease = "1s", backend = BACKEND)]
fn hurry(text: &str) -> String {
    body(text)
}

#[cached(timeout = "1h", name = "await", lease = "10s", backend = BACKEND)]
async fn call_async(text: &str) -> String {
    body(text)
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// On no runtime: the library has connections on one of its own.
fn wait<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

fn body(text: &str) -> String {
    let value = format!("{} bytes by {}", text.len(), process::id());
    say("body", &value);
    if text.starts_with("held") {
        let gone = GONE.lock().unwrap_or_else(PoisonError::into_inner);
        drop(GO.wait_while(gone, |gone| !*gone));
    }
    value
}

fn say(word: &str, text: &str) {
    println!("{word} {}", serde_json::to_string(text).expect("text is JSON"));
}

fn sum(count: impl Fn(&Stats) -> u64) -> String {
    (count(&call::stats()) + count(&hurry::stats())).to_string()
}

fn main() {
    for line in stdin().lines() {
        let line = line.expect("it is text");
        let (word, text) = line.split_once(' ').expect("a word and a text");
        let text: String = serde_json::from_str(text).expect("it is JSON");
        match word {
            "call" => drop(thread::spawn(move || say("got", &call(&text)))),
            "hurry" => drop(thread::spawn(move || say("got", &hurry(&text)))),
            "await" => drop(thread::spawn(move || say("got", &wait(call_async(&text))))),
            "await-peek" => say("is", &wait(call_async::peek(&text)).unwrap_or_default()),
            "await-invalidate" => {
                wait(call_async::invalidate(&text));
                say("is", "");
            }
            "go" => {
                *GONE.lock().unwrap_or_else(PoisonError::into_inner) = true;
                GO.notify_all();
            }
            "peek" => say("is", &call::peek(&text).unwrap_or_default()),
            "hurried" => say("is", &hurry::peek(&text).unwrap_or_default()),
            "invalidate" => {
                call::invalidate(&text);
                say("is", "");
            }
            "misses" => say("is", &sum(|stats| stats.misses)),
            "hits" => say("is", &sum(|stats| stats.backend_hits)),
            "overtaken" => say("is", &sum(|stats| stats.backend_overtaken)),
            _ => panic!("{word}"),
        }
    }
}
