//! What a process hears of its backends.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use cached_runtime::{Backend, Event, cached, testing};
use cached_tests::Runs;
use cached_tests::driver::{Fault, Faulty};
use cached_tests::events::{heard, listen, react};

fn failed(backend: &Backend) -> Event {
    let message = "the engine cannot be reached: connection refused".to_owned();
    Event::Failed { backend: backend.to_string(), message }
}

#[test]
fn the_breaker_is_heard_of_when_it_opens_tries_and_closes_and_not_in_between() {
    backend!(OWN, DRIVER, Faulty::new());
    #[cached(timeout = 300, backend = OWN)]
    fn f(n: u32) -> u32 {
        n
    }
    listen();
    let own = testing::isolated();
    let backend = OWN.to_string();
    assert_eq!((f(1), heard(&backend)), (1, vec![]));
    DRIVER.set_fault(Fault::Refuses);
    for n in 0..1000 {
        f(n);
    }
    let mut expected = vec![failed(&OWN); 5];
    expected.push(Event::Opened {
        backend: backend.clone(),
        wait: Duration::from_secs(1),
        message: "the engine cannot be reached: connection refused".to_owned(),
    });
    assert_eq!(heard(&backend), expected);
    own.advance(Duration::from_secs(1));
    for n in 0..1000 {
        f(n);
    }
    expected.extend([Event::Probing { backend: backend.clone() }, failed(&OWN)]);
    assert_eq!(heard(&backend), expected, "it has opened before");
    DRIVER.set_fault(Fault::None);
    own.advance(Duration::from_secs(2));
    for n in 0..1000 {
        f(n);
    }
    expected
        .extend([Event::Probing { backend: backend.clone() }, Event::Closed { backend: backend.clone() }]);
    assert_eq!(heard(&backend), expected);
}

#[tokio::test]
async fn of_many_operations_that_fail_together_the_first_are_heard_of() {
    backend!(OWN, DRIVER, Faulty::new());
    #[cached(timeout = 300, backend = OWN)]
    async fn f(n: u32) -> u32 {
        n
    }
    listen();
    let own = testing::isolated();
    DRIVER.set_fault(Fault::Hangs);
    let calls: Vec<_> = (0..64).map(|n| tokio::spawn(own.store().run(async move { f(n).await }))).collect();
    drop(own);
    for (n, call) in (0..).zip(calls) {
        assert_eq!(call.await.expect("no panic"), n);
    }
    assert_eq!(DRIVER.operations(), 64);
    let backend = OWN.to_string();
    let message = "no answer by the deadline".to_owned();
    let mut expected = vec![Event::Failed { backend: backend.clone(), message: message.clone() }; 5];
    expected.push(Event::Opened { backend: backend.clone(), wait: Duration::from_secs(1), message });
    assert_eq!(heard(&backend), expected);
}

#[test]
fn a_value_that_is_not_stored_is_heard_of_by_its_function() {
    backend!(OWN, DRIVER, Faulty::with_most(1000));
    #[cached(name = "sized", timeout = 300, backend = OWN)]
    fn f(size: usize) -> String {
        "x".repeat(size)
    }
    #[expect(clippy::option_option, reason = "this is what cannot be encoded")]
    #[cached(name = "nested", timeout = 300, backend = OWN)]
    fn g(n: u32) -> Vec<Option<Option<u32>>> {
        vec![Some((n > 0).then_some(n))]
    }
    listen();
    let _own = testing::isolated();
    f(10);
    assert_eq!(f(2000).len(), 2000);
    g(0);
    DRIVER.keys().iter().for_each(|key| DRIVER.set_raw(key, b"no record"));
    f(10);
    let (backend, function) = (OWN.to_string(), "sized".to_owned());
    assert_eq!(
        heard(&backend),
        [
            Event::TooLarge { backend: backend.clone(), function: function.clone() },
            Event::Unencodable { backend: backend.clone(), function: "nested".to_owned() },
            Event::Undecodable { backend: backend.clone(), function },
        ]
    );
}

#[test]
fn a_map_whose_keys_are_no_texts_is_kept_as_messagepack_and_refused_as_json() {
    backend!(OWN, DRIVER, Faulty::new());
    #[cached(timeout = 300, backend = OWN)]
    fn packed(n: u32) -> BTreeMap<(u32, u32), String> {
        [((n, n), "x".into())].into()
    }
    #[cached(name = "text", timeout = 300, codec = json, backend = OWN)]
    fn text(n: u32) -> BTreeMap<(u32, u32), String> {
        packed(n)
    }
    listen();
    let _own = testing::isolated();
    assert_eq!(packed(1), packed(1));
    assert_eq!((packed::stats().backend_hits, packed::stats().backend_undecodable), (1, 0));
    assert_eq!(text(1), text(1));
    assert_eq!((text::stats().backend_hits, DRIVER.keys().len()), (0, 2), "an entry, its generation");
    let backend = OWN.to_string();
    let event = Event::Unencodable { backend: backend.clone(), function: "text".to_owned() };
    assert_eq!(heard(&backend), [event.clone(), event]);
}

#[test]
fn that_there_are_no_leases_is_heard_of_once() {
    backend!(OWN, DRIVER, Faulty::without_versions());
    #[cached(timeout = 300, lease = "10s", backend = OWN)]
    fn f(n: u32) -> u32 {
        n
    }
    listen();
    let _own = testing::isolated();
    for n in 0..10 {
        assert_eq!((f(n), f(n)), (n, n));
    }
    let backend = OWN.to_string();
    assert_eq!(heard(&backend), [Event::NoLeases { backend: backend.clone() }], "and nothing else");
}

#[test]
fn a_url_that_is_none_is_heard_of_once() {
    static OWN: Backend = Backend::env("CARGO_PKG_DESCRIPTION", "memory://");
    #[cached(timeout = 300, backend = OWN)]
    fn f(n: u32) -> u32 {
        n
    }
    listen();
    let _own = testing::isolated();
    for n in 0..10 {
        assert_eq!((f(n), f::invalidate(n)), (n, false));
    }
    let events = heard("$CARGO_PKG_DESCRIPTION");
    assert!(
        matches!(&*events, [Event::Unusable { message, .. }] if message.contains("scheme")),
        "{events:?}"
    );
}

#[test]
fn a_hook_may_call_what_it_hears_of_and_may_panic() {
    backend!(OWN, DRIVER, Faulty::new());
    static RUNS: Runs = Runs::new();
    #[cached(timeout = 300, backend = OWN)]
    fn f(n: u32) -> u32 {
        n
    }
    react(&OWN.to_string(), || {
        assert!(cached_runtime::backends().iter().any(|it| it.name == OWN.to_string()));
        assert_eq!(f(RUNS.add() + 100), RUNS.get() + 100);
        panic!("on purpose");
    });
    let _own = testing::isolated();
    DRIVER.set_fault(Fault::Refuses);
    assert_eq!((f(1), f(2)), (1, 2));
    assert_eq!((heard(&OWN.to_string()).len(), RUNS.get()), (2, 2), "what the hook does itself is not told");
    assert_eq!(DRIVER.operations(), 4);
}

#[cfg(feature = "tracing")]
mod levels {
    use std::fmt::{Debug, Write};
    use std::sync::Mutex;

    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Level, Metadata, Subscriber, subscriber};

    use super::*;

    /// Keeps the level and text of each event.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<(Level, String)>>>);

    struct Text(String);

    impl Visit for Text {
        fn record_debug(&mut self, _: &Field, value: &dyn Debug) {
            write!(self.0, "{value:?}").expect("it is memory");
        }
    }

    impl Subscriber for Log {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.target() == "cached_runtime"
        }

        fn event(&self, event: &tracing::Event<'_>) {
            let mut text = Text(String::new());
            event.record(&mut text);
            self.0.lock().expect("nobody panics").push((*event.metadata().level(), text.0));
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    #[test]
    fn subscribers_see_events_by_their_weight() {
        backend!(OWN, DRIVER, Faulty::new());
        #[cached(timeout = 300, backend = OWN)]
        fn f(n: u32) -> u32 {
            n
        }
        let goes_and_comes_back = || {
            let own = testing::isolated();
            DRIVER.set_fault(Fault::Refuses);
            (0..20).for_each(|n| assert_eq!(f(n), n));
            DRIVER.set_fault(Fault::None);
            own.advance(Duration::from_secs(1));
            f(1);
        };
        let log = Log::default();
        subscriber::with_default(log.clone(), || {
            // Of an event that a thread without a subscriber is the first to tell, tracing believes that nobody wants
            // it, until it asks again.
            goes_and_comes_back();
            tracing::callsite::rebuild_interest_cache();
            log.0.lock().expect("nobody panics").clear();
            goes_and_comes_back();
        });
        let log = log.0.lock().expect("nobody panics").clone();
        let levels: Vec<_> = log.iter().map(|(level, _)| *level).collect();
        let (debug, info, warn) = (Level::DEBUG, Level::INFO, Level::WARN);
        assert_eq!(levels, [debug, debug, debug, debug, debug, warn, debug, info]);
        assert_eq!(
            log[5].1,
            format!(
                "{OWN} is not asked for 1s, as it failed several times in a row: \
                 the engine cannot be reached: connection refused"
            )
        );
        assert_eq!(log[7].1, format!("{OWN} is there again"));
    }
}
