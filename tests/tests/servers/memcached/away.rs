//! A server goes away and comes back with what it had: nothing of that is used.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::{Duration, Instant};

use cached_runtime::backend::driver::{Driver, Expected, Found};
use cached_runtime::backend::memcached::{Config, Memcached};
use cached_runtime::{Backend, cached, testing};
use cached_tests::servers::Server;
use cached_tests::{PATIENCE, watched};

use super::awaited::Awaiting;
use super::discovery::{Endpoint, count, discovering};
use super::{at, driver, put, shortly, soon, value};

const WAYS: [fn(Memcached) -> Box<dyn Driver>; 3] = [
    |driver| Box::new(driver),
    |driver| Box::new(Awaiting::on_one_thread(driver)),
    |driver| Box::new(Awaiting::on_threads(driver)),
];

/// With one thread each: what is sent to one after it went on, it does after all that it was sent before.
fn servers() -> Vec<Server> {
    (0..3).map(|_| Server::memcached(&["-t", "1"])).collect()
}

fn over(servers: &[Server]) -> Memcached {
    Memcached::new(Config {
        connect_timeout: Duration::from_secs(5),
        ..Config::new(servers.iter().map(at).collect())
    })
}

fn keys() -> Vec<String> {
    (0..60).map(|n| format!("key:{n}")).collect()
}

fn found(driver: &dyn Driver, keys: &[String]) -> Vec<Option<Found>> {
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    driver.get(&keys, soon()).unwrap()
}

/// Asks until the server is left alone.
fn until_left_alone(driver: &dyn Driver, keys: &[String]) {
    let begun = Instant::now();
    let mut answered = 0;
    while answered < keys.len() {
        match driver.get(&[&keys[answered]], shortly()) {
            Ok(_) => answered += 1,
            Err(_) => answered = 0,
        }
        assert!(begun.elapsed() < PATIENCE, "it is not left alone");
    }
}

/// Does something until the server was asked for values again.
fn until_used(server: &Server, mut use_it: impl FnMut()) {
    let before = count(server, "cmd_get");
    let begun = Instant::now();
    while count(server, "cmd_get") < before + 10 {
        assert!(begun.elapsed() < PATIENCE, "it is not used again");
        use_it();
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn what_was_replaced_or_removed_while_a_server_was_away_does_not_come_back() {
    watched(|| {
        for way in WAYS {
            let (servers, keys) = (servers(), keys());
            let driver = way(over(&servers));
            for key in &keys {
                assert!(put(&*driver, key, b"old").unwrap());
            }
            assert!(found(&*driver, &keys).iter().all(Option::is_some));
            servers[0].pause();
            until_left_alone(&*driver, &keys);
            for (n, key) in keys.iter().enumerate() {
                if n % 2 == 0 {
                    assert!(put(&*driver, key, b"new").unwrap());
                } else {
                    driver.delete(key, Expected::Anything, soon()).unwrap();
                }
            }
            servers[0].resume();
            let is_right = |(n, found): (usize, Option<Found>)| match found {
                Some(found) => n % 2 == 0 && found.value == b"new",
                None => true,
            };
            until_used(&servers[0], || {
                assert!(found(&*driver, &keys).into_iter().enumerate().all(is_right));
            });
            let again = found(&*driver, &keys);
            assert!(again.iter().step_by(2).any(Option::is_none), "it is cold");
            for (key, found) in keys.iter().zip(again) {
                if found.is_none() {
                    assert!(driver.set(key, b"again", None, Expected::Nothing, soon()).unwrap(), "{key}");
                    assert_eq!(value(&*driver, key).unwrap().as_deref(), Some(&b"again"[..]));
                }
            }
            assert!(found(&*driver, &keys).iter().all(Option::is_some));
        }
    });
}

/// What others stored in its place while it was away for the first time, is found by nobody when it is away again.
#[test]
fn what_was_replaced_or_removed_between_two_absences_does_not_come_back() {
    watched(|| {
        for way in WAYS {
            let (mut servers, keys) = (servers(), keys());
            servers[0].kill();
            let first = way(over(&servers));
            for key in &keys {
                assert!(put(&*first, key, b"old").unwrap());
            }
            servers[0].restart();
            let second = way(over(&servers));
            for (n, key) in keys.iter().enumerate() {
                if n % 2 == 0 {
                    assert!(put(&*second, key, b"new").unwrap());
                } else {
                    second.delete(key, Expected::Anything, soon()).unwrap();
                }
            }
            servers[0].kill();
            let found = found(&*way(over(&servers)), &keys);
            let is_old = |found: &Option<Found>| found.as_ref().is_some_and(|it| it.value == b"old");
            assert!(!found.iter().any(is_old));
            let is_new = |found: &Option<Found>| found.as_ref().is_some_and(|it| it.value == b"new");
            assert!(found.iter().any(is_new), "not all of them were on that server");
        }
    });
}

/// All of them find it back at the same time.
#[test]
fn nobody_reads_from_a_server_that_is_back_before_it_is_known_what_is_old() {
    watched(|| {
        for way in WAYS {
            let (servers, keys) = (servers(), keys());
            let driver = way(over(&servers));
            for key in &keys {
                assert!(put(&*driver, key, b"old").unwrap());
            }
            servers[0].pause();
            until_left_alone(&*driver, &keys);
            for key in &keys {
                assert!(driver.set(key, b"new", None, Expected::Anything, soon()).is_ok());
            }
            let is_used = AtomicBool::new(false);
            thread::scope(|scope| {
                for number in 0..8 {
                    let (driver, keys, is_used) = (&*driver, &keys, &is_used);
                    scope.spawn(move || {
                        while !is_used.load(SeqCst) {
                            for key in keys.iter().skip(number) {
                                let Ok(found) = driver.get(&[key], soon()) else { continue };
                                let found = found.into_iter().flatten().next();
                                assert!(found.is_none_or(|it| it.value == b"new"), "{key}");
                            }
                        }
                    });
                }
                servers[0].resume();
                until_used(&servers[0], || {});
                is_used.store(true, SeqCst);
            });
        }
    });
}

/// It counts from one again, and nobody had a connection that was closed by that.
#[test]
fn a_server_that_was_away_and_later_restarted_is_used_again() {
    watched(|| {
        let (mut servers, keys) = (servers(), keys());
        let driver = Memcached::new(Config {
            connect_timeout: Duration::from_secs(5),
            most_idle: 0,
            ..Config::new(servers.iter().map(at).collect())
        });
        let put_all = || keys.iter().for_each(|key| assert!(put(&driver, key, b"value").unwrap()));
        (0..10).for_each(|_| put_all());
        servers[0].pause();
        until_left_alone(&driver, &keys);
        servers[0].resume();
        until_used(&servers[0], || _ = found(&driver, &keys));
        servers[0].restart();
        put_all();
        // That it has begun anew shows when the first of these is asked for.
        found(&driver, &keys);
        put_all();
        assert!(found(&driver, &keys).iter().all(Option::is_some));
    });
}

/// What is elsewhere cannot be old if there is no elsewhere.
#[test]
fn the_only_server_keeps_what_it_had() {
    watched(|| {
        for way in WAYS {
            let server = Server::memcached(&[]);
            let driver = way(driver(vec![at(&server)]));
            assert!(put(&*driver, "key", b"value").unwrap());
            server.pause();
            (0..3).for_each(|_| assert!(driver.get(&["key"], shortly()).is_err()));
            server.resume();
            assert_eq!(value(&*driver, "key").unwrap().as_deref(), Some(&b"value"[..]));
        }
    });
}

#[test]
fn what_a_server_had_before_it_left_the_list_does_not_come_back_with_it() {
    watched(|| {
        for way in WAYS {
            let servers = servers();
            let endpoint = Endpoint::new(&[&servers[0]], true);
            let driver = way(discovering(endpoint.address));
            let keys = keys();
            for key in &keys {
                assert!(put(&*driver, key, b"old").unwrap());
            }
            endpoint.set(&[&servers[1]]);
            endpoint.until_read(|| _ = put(&*driver, "other", b"value").unwrap());
            for key in &keys {
                assert!(!driver.delete(key, Expected::Anything, soon()).unwrap(), "it is empty");
            }
            endpoint.set(&[&servers[0]]);
            endpoint.until_read(|| _ = found(&*driver, &keys));
            assert!(found(&*driver, &keys).iter().all(Option::is_none));
            for key in &keys {
                assert!(driver.set(key, b"new", None, Expected::Nothing, soon()).unwrap());
            }
            assert!(found(&*driver, &keys).iter().all(Option::is_some));
        }
    });
}

/// A function of a process of its own, which stores what it is told to.
macro_rules! process {
    ($process:ident, $name:literal, $servers:ident) => {
        mod $process {
            use super::*;

            static OWN: Backend =
                Backend::driver(concat!(module_path!(), $name), || Arc::new(over(&$servers)));
            pub(super) static MEANING: AtomicU32 = AtomicU32::new(1);

            #[cached(timeout = "1d", name = $name, backend = OWN)]
            pub(super) fn f(n: u32) -> u32 {
                n * 10 + MEANING.load(SeqCst)
            }

            /// Which meanings the values of all keys have.
            pub(super) fn meanings() -> Vec<u32> {
                let mut meanings: Vec<u32> = (0..20).map(|n| f(n) % 10).collect();
                meanings.sort_unstable();
                meanings.dedup();
                meanings
            }
        }
    };
}

/// The server that a generation is on.
fn with_generation<'s>(servers: &'s [Server], function: &str) -> &'s Server {
    let request = format!("mg cached:{function}:v0:generation\r\n");
    let mut has_it = servers.iter().filter(|it| it.ask(request.as_bytes(), b"\r\n") == b"HD\r\n");
    has_it.next().unwrap()
}

/// Time passes for breakers, and for generations that are believed.
fn later() {
    testing::advance(Duration::from_secs(2));
}

static CLEARED: LazyLock<Vec<Server>> = LazyLock::new(servers);

#[test]
fn what_was_cleared_while_a_server_was_away_does_not_come_back_in_any_process() {
    process!(one, "cleared", CLEARED);
    process!(other, "cleared", CLEARED);
    watched(|| {
        let _own = testing::isolated();
        assert_eq!((one::meanings(), other::meanings()), (vec![1], vec![1]));
        let server = with_generation(&CLEARED, "cleared");
        server.pause();
        one::MEANING.store(2, SeqCst);
        other::MEANING.store(2, SeqCst);
        // What it was sent before it is left alone, it does when it goes on.
        for n in 100..140 {
            later();
            one::f(n);
        }
        one::f::clear();
        // Meanwhile the other process asks for nothing.
        assert_eq!(one::meanings(), [2]);
        server.resume();
        until_used(server, || {
            later();
            assert_eq!(one::meanings(), [2]);
        });
        // What it was used for need not have been the generation, which this asks it for.
        later();
        assert_eq!(one::meanings(), [2]);
        later();
        assert_eq!(other::meanings(), [2]);
        assert_eq!(one::meanings(), [2]);
        let before = one::f::stats().computations;
        one::meanings();
        assert_eq!(one::f::stats().computations, before, "all are hits again");
    });
}

static OTHERS: LazyLock<Vec<Server>> = LazyLock::new(servers);

#[test]
fn what_was_invalidated_or_put_while_a_server_was_away_does_not_come_back() {
    process!(invalidating, "invalidated", OTHERS);
    process!(putting, "put", OTHERS);
    watched(|| {
        let _own = testing::isolated();
        assert_eq!((invalidating::meanings(), putting::meanings()), (vec![1], vec![1]));
        for server in OTHERS.iter() {
            server.pause();
            invalidating::MEANING.store(2, SeqCst);
            putting::MEANING.store(2, SeqCst);
            for n in 0..20 {
                invalidating::f::invalidate(n);
                putting::f::put(n, n * 10 + 3);
            }
            for _ in 0..4 {
                later();
                assert_eq!(invalidating::meanings(), [2]);
                assert!(!putting::meanings().contains(&1));
            }
            server.resume();
            until_used(server, || {
                later();
                assert_eq!(invalidating::meanings(), [2]);
                assert!(!putting::meanings().contains(&1));
            });
            invalidating::MEANING.store(1, SeqCst);
            putting::MEANING.store(1, SeqCst);
            invalidating::f::clear();
            putting::f::clear();
            assert_eq!((invalidating::meanings(), putting::meanings()), (vec![1], vec![1]));
        }
    });
}
