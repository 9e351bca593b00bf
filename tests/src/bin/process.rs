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
//! | `copy TEXT` | `got VALUE`, of a third function, of whose values it keeps copies for an hour |
//! | `forget TEXT`, `put TEXT`, `renew TEXT`, `clear ""` | `is ""`, having done that to the third function |
//! | `tag TEXT` | `is ""`, having invalidated the tag of what the third function has of that text |
//! | `awaits ""` | nothing; from now on the third function is one that is awaited |
//! | `copies ""` | `is NUMBER`, of calls that were answered by copies |
//! | `broadcast ""` | `is true` or `is false`, whether it hears what others change; `is ""` if it does not want to |
//! | `events ""` | `is TEXT`, all that was told of backends, in lines |

use std::future::Future;
use std::io::stdin;
use std::pin::pin;
use std::process;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use cached_runtime::{Backend, Stats, backends, cached, on_event, store};

static BACKEND: Backend = Backend::env("CACHED_TESTS_BACKEND", "null://");
static GONE: Mutex<bool> = Mutex::new(false);
static GO: Condvar = Condvar::new();
static AWAITS: AtomicBool = AtomicBool::new(false);
static EVENTS: Mutex<Vec<String>> = Mutex::new(Vec::new());

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

#[cached(timeout = "1h", local_timeout = "1h", tags("tag {text}"), name = "copied", backend = BACKEND)]
fn copied(text: &str) -> String {
    body(text)
}

#[cached(timeout = "1h", local_timeout = "1h", tags("tag {text}"), name = "copied", backend = BACKEND)]
async fn awaited(text: &str) -> String {
    body(text)
}

/// One of the two, whichever is to be used.
macro_rules! either {
    ($blocking:expr, $awaited:expr) => {
        if AWAITS.load(SeqCst) { block_on($awaited) } else { $blocking }
    };
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// On no runtime: the library has connections on one of its own.
fn block_on<F: Future>(future: F) -> F::Output {
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
    let value = value(text);
    say("body", &value);
    if text.starts_with("held") {
        drop(GO.wait_while(lock(&GONE), |gone| !*gone));
    }
    value
}

fn value(text: &str) -> String {
    format!("{} bytes by {}", text.len(), process::id())
}

fn say(word: &str, text: &str) {
    println!("{word} {}", serde_json::to_string(text).expect("text is JSON"));
}

fn sum(count: impl Fn(&Stats) -> u64) -> String {
    (count(&call::stats()) + count(&hurry::stats())).to_string()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn main() {
    on_event(|event| lock(&EVENTS).push(event.to_string()));
    for line in stdin().lines() {
        let line = line.expect("it is text");
        let (word, text) = line.split_once(' ').expect("a word and a text");
        let text: String = serde_json::from_str(text).expect("it is JSON");
        match word {
            "call" => drop(thread::spawn(move || say("got", &call(&text)))),
            "hurry" => drop(thread::spawn(move || say("got", &hurry(&text)))),
            "await" => drop(thread::spawn(move || say("got", &block_on(call_async(&text))))),
            "await-peek" => say("is", &block_on(call_async::peek(&text)).unwrap_or_default()),
            "await-invalidate" => {
                block_on(call_async::invalidate(&text));
                say("is", "");
            }
            "go" => {
                *lock(&GONE) = true;
                GO.notify_all();
            }
            "peek" => say("is", &call::peek(&text).unwrap_or_default()),
            "hurried" => say("is", &hurry::peek(&text).unwrap_or_default()),
            "invalidate" => {
                call::invalidate(&text);
                say("is", "");
            }
            "copy" => drop(thread::spawn(move || say("got", &either!(copied(&text), awaited(&text))))),
            "forget" => {
                either!(copied::invalidate(&text), awaited::invalidate(&text));
                say("is", "");
            }
            "put" => {
                either!(copied::put(&text, value(&text)), awaited::put(&text, value(&text)));
                say("is", "");
            }
            "renew" => {
                either!(copied::refresh(&text), awaited::refresh(&text));
                say("is", "");
            }
            "clear" => {
                either!(copied::clear(), awaited::clear());
                say("is", "");
            }
            "tag" => {
                store().invalidate_tag(&format!("tag {text}"));
                say("is", "");
            }
            "awaits" => AWAITS.store(true, SeqCst),
            "copies" => say("is", &either!(copied::stats(), awaited::stats()).hits.to_string()),
            "broadcast" => {
                let heard = backends().iter().find_map(|backend| backend.broadcast);
                say("is", &heard.map(|it| it.to_string()).unwrap_or_default());
            }
            "events" => say("is", &lock(&EVENTS).join("\n")),
            "misses" => say("is", &sum(|stats| stats.misses)),
            "hits" => say("is", &sum(|stats| stats.backend_hits)),
            "overtaken" => say("is", &sum(|stats| stats.backend_overtaken)),
            _ => panic!("{word}"),
        }
    }
}
