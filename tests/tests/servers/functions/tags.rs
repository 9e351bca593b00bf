//! Tags whose generations are on a server. Several processes are several stores here.

use std::thread;
use std::time::Duration;

use cached_runtime::testing::Isolated;
use cached_runtime::{Backend, cached, store, testing};
use cached_tests::proxy::{Mode, Proxy};
use cached_tests::servers::Server;
use cached_tests::{Gate, Runs, eventually, process, watched, within};

use super::{Engine, MEMCACHED, REDIS, backend, on_each_engine};

/// The same when it believes nothing that it knew before.
fn later<R>(process: &Isolated, work: impl FnOnce() -> R) -> R {
    within(process, || {
        testing::advance(Duration::from_secs(1));
        work()
    })
}

/// The keys of the generations that are on a server.
fn generations(engine: Engine, server: &Server) -> Vec<String> {
    let keys = if engine.scheme == REDIS.scheme {
        server.say(&["KEYS", "*"])
    } else {
        let dump = server.ask(b"lru_crawler metadump all\r\n", b"END\r\n");
        String::from_utf8(dump).expect("it is text").replace("%3A", ":")
    };
    let keys = keys.split(['\r', '\n', ' ', '=', '"']);
    keys.filter(|key| key.ends_with(":generation")).map(str::to_owned).collect()
}

on_each_engine! {
    fn an_invalidated_tag_is_seen_at_once_here_and_within_a_second_elsewhere(engine) {
        watched(move || {
            backend!(OWN, URL);
            #[cached(timeout = "30d", tags(tag, "all"), key = tag, backend = OWN)]
            fn f(tag: &str) -> usize {
                tag.len()
            }
            let server = engine.start();
            URL.set(engine.url(server.address())).expect("once in each test");
            let (here, elsewhere) = (process(), process());
            let large = "x".repeat(100_000);
            let tags = ["", " ", "a\r\nflush_all\r\n", "\0", "*1\r\n$8\r\nFLUSHALL\r\n", "\u{1F980}", &large];
            let there = || tags.map(|tag| f::peek(tag).is_some());
            for tag in tags {
                within(&here, || tags.map(f));
                assert_eq!(later(&elsewhere, there), [true; 7]);
                within(&here, || store().invalidate_tag(tag));
                let left = tags.map(|other| other != tag);
                assert_eq!(within(&here, there), left, "{tag:.20}");
                assert_eq!(later(&elsewhere, there), left, "{tag:.20}");
            }
            within(&here, || store().invalidate_tag("all"));
            assert_eq!((within(&here, there), later(&elsewhere, there)), ([false; 7], [false; 7]));
        });
    }
}

on_each_engine! {
    fn an_invalidation_in_another_process_is_not_undone_by_a_late_write(engine) {
        watched(move || {
            backend!(OWN, URL);
            static GATE: Gate = Gate::new();
            static BEGAN: Runs = Runs::new();
            #[cached(timeout = "30d", tags("group"), lease = "1h", backend = OWN)]
            fn f(n: u32) -> u32 {
                if BEGAN.add() == 1 {
                    GATE.pass();
                    return n + 1000;
                }
                n
            }
            let server = engine.start();
            URL.set(engine.url(server.address())).expect("once in each test");
            let (here, elsewhere) = (process(), process());
            assert_eq!(within(&elsewhere, || f::peek(1)), None);
            let body = here.clone();
            let computing = thread::spawn(move || within(&body, || f(1)));
            eventually(|| BEGAN.get() > 0);
            within(&elsewhere, || {
                store().invalidate_tag("group");
                // The claim from before is none any more.
                assert_eq!(f(1), 1);
            });
            GATE.open();
            assert_eq!(computing.join().expect("it is done"), 1001, "its own caller gets the value");
            assert_eq!((later(&here, || f(1)), later(&elsewhere, || f(1)), BEGAN.get()), (1, 1, 2));
        });
    }
}

on_each_engine! {
    fn generations_that_were_lost_make_misses_and_never_old_values(engine) {
        watched(move || {
            backend!(OWN, URL);
            #[cached(timeout = "30d", tags("group", "{n}"), name = "lost", backend = OWN)]
            fn f(n: u32) -> u32 {
                n
            }
            let server = engine.start();
            let url = engine.url(server.address());
            let driver = testing::driver(&url);
            URL.set(url).expect("once in each test");
            let own = process();
            within(&own, || f(1));
            // memcached lists them in its own time.
            eventually(|| generations(engine, &server).len() == 4);
            for lost in generations(engine, &server) {
                let deadline = std::time::Instant::now() + Duration::from_secs(20);
                let expected = cached_runtime::backend::driver::Expected::Anything;
                assert!(driver.delete(&lost, expected, deadline).expect("it is there"), "{lost}");
                assert_eq!(later(&own, || f::peek(1)), None, "{lost}");
                assert_eq!(later(&own, || f::peek(1)), None, "{lost}, found anew");
                assert_eq!((within(&own, || f(1)), later(&own, || f::peek(1))), (1, Some(1)), "{lost}");
            }
        });
    }
}

on_each_engine! {
    fn an_invalidation_that_the_server_could_not_be_told_is_made_up_for(engine) {
        watched(move || {
            backend!(OWN, URL);
            #[cached(timeout = "30d", tags("group"), backend = OWN)]
            fn f(n: u32) -> u32 {
                n
            }
            let server = engine.start();
            let proxy = Proxy::to(server.address());
            URL.set(engine.url(proxy.address())).expect("once in each test");
            let (here, elsewhere) = (process(), process());
            within(&here, || f(1));
            assert_eq!(within(&elsewhere, || f::peek(1)), Some(1));
            proxy.set(Mode::Refuse);
            within(&here, || store().invalidate_tag("group"));
            proxy.set(Mode::Pass);
            eventually(|| later(&elsewhere, || f::peek(1)).is_none());
            assert_eq!(later(&here, || f::peek(1)), None);
        });
    }
}
