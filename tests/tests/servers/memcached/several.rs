//! Several servers, some of which are not well.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use cached_runtime::backend::driver::{Driver, DriverError, Expected};
use cached_runtime::backend::memcached::{Config, Memcached};
use cached_tests::proxy::{Mode, Proxy};
use cached_tests::servers::Server;
use cached_tests::{PATIENCE, eventually, watched};

use super::awaited::Awaiting;
use super::{at, driver, put, shortly, soon, through, value};

fn keys() -> Vec<String> {
    (0..100).map(|n| format!("key:{n}")).collect()
}

/// How many of the keys are found; those that are have the right value.
fn found(driver: &Memcached, keys: &[String]) -> usize {
    let has = |key: &&String| match value(driver, key).unwrap() {
        Some(value) => {
            assert_eq!(value, key.as_bytes());
            true
        }
        None => false,
    };
    keys.iter().filter(has).count()
}

fn put_all(driver: &Memcached, keys: &[String]) {
    for key in keys {
        assert!(put(driver, key, key.as_bytes()).unwrap());
    }
}

#[test]
fn the_keys_of_a_killed_server_go_to_the_others_and_come_back() {
    watched(|| {
        let mut servers: Vec<_> = (0..3).map(|_| Server::memcached(&[])).collect();
        let driver = driver(servers.iter().map(at).collect());
        let keys = keys();
        put_all(&driver, &keys);
        assert_eq!(found(&driver, &keys), 100);
        servers[1].kill();
        // Connections to it may still be in the pool: those are found to be closed, then there is no other.
        let left = found(&driver, &keys);
        assert!((1..100).contains(&left), "{left} of 100");
        put_all(&driver, &keys);
        assert_eq!(found(&driver, &keys), 100);
        let together: Vec<&str> = keys.iter().map(String::as_str).collect();
        let all = driver.get(&together, Instant::now() + PATIENCE).unwrap();
        assert!(all.iter().all(Option::is_some));
        servers[1].restart();
        let begun = Instant::now();
        while found(&driver, &keys) == 100 {
            assert!(begun.elapsed() < PATIENCE, "its keys do not come back to it");
            thread::sleep(Duration::from_millis(20));
        }
        put_all(&driver, &keys);
        assert_eq!(found(&driver, &keys), 100);
        servers[0].kill();
        servers[1].kill();
        servers[2].kill();
        assert!(matches!(value(&driver, "key:0"), Err(DriverError::Unavailable(_))));
    });
}

#[test]
fn a_server_that_stands_still_is_left_alone_after_two_deadlines() {
    watched(|| {
        let servers: Vec<_> = (0..2).map(|_| Server::memcached(&[])).collect();
        let driver = Memcached::new(Config {
            retry_after: Duration::from_secs(3600),
            connect_timeout: Duration::from_secs(5),
            ..Config::new(servers.iter().map(at).collect())
        });
        let keys = keys();
        put_all(&driver, &keys);
        let is_there =
            |key: &&String| servers[0].ask(format!("mg {key}\r\n").as_bytes(), b"\r\n") == b"HD\r\n";
        let its_own: Vec<_> = keys.iter().filter(is_there).collect();
        servers[0].pause();
        for (n, key) in its_own.iter().enumerate() {
            // Who was late for another reason than the pause would be counted wrongly: the others have time.
            let answer = driver.get(&[key], if n < 2 { shortly() } else { soon() });
            assert_eq!(matches!(answer, Err(DriverError::TimedOut)), n < 2, "{n}: {answer:?}");
        }
        put_all(&driver, &keys);
        assert_eq!(found(&driver, &keys), 100);
        servers[0].resume();
        assert_eq!(found(&driver, &keys), 100);
    });
}

#[test]
fn one_slow_server_does_not_count_against_another() {
    watched(|| {
        let servers: Vec<_> = (0..2).map(|_| Server::memcached(&[])).collect();
        let proxies: Vec<_> = servers.iter().map(|server| Proxy::to(server.address())).collect();
        let driver = Memcached::new(Config {
            retry_after: Duration::from_secs(3600),
            connect_timeout: Duration::from_secs(5),
            ..Config::new(proxies.iter().map(through).collect())
        });
        let keys = keys();
        put_all(&driver, &keys);
        proxies[0].set(Mode::Swallow);
        let together: Vec<&str> = keys.iter().map(String::as_str).collect();
        for _ in 0..2 {
            assert!(matches!(driver.get(&together, shortly()), Err(DriverError::TimedOut)));
        }
        // The other one holds what is its own, and takes the rest.
        let left = found(&driver, &keys);
        assert!((1..100).contains(&left), "{left} of 100");
        put_all(&driver, &keys);
        assert_eq!(found(&driver, &keys), 100);
    });
}

#[test]
fn a_version_of_one_server_is_never_taken_for_one_of_another() {
    watched(|| {
        let mut servers: Vec<_> = (0..2).map(|_| Server::memcached(&[])).collect();
        let driver = driver(servers.iter().map(at).collect());
        let keys = keys();
        put_all(&driver, &keys);
        let version = |key: &str| {
            let found = driver.get(&[key], Instant::now() + PATIENCE).unwrap().remove(0);
            found.and_then(|found| found.version)
        };
        let old: Vec<_> = keys.iter().map(|key| version(key).unwrap()).collect();
        servers[0].restart();
        // The same numbers are given out again, in another order for some.
        for _ in 0..2 {
            for key in keys.iter().rev() {
                assert!(put(&driver, key, b"new").unwrap());
            }
        }
        for (key, old) in keys.iter().zip(old) {
            let stored = driver.set(key, b"late", None, Expected::Version(old), Instant::now() + PATIENCE);
            assert!(!stored.unwrap(), "{key}");
            let removed = driver.delete(key, Expected::Version(old), Instant::now() + PATIENCE);
            assert!(!removed.unwrap(), "{key}");
        }
    });
}

/// It closed no connection that anybody still had, and counts from one again.
#[test]
fn a_version_of_a_server_that_hung_and_was_restarted_does_not_come_back() {
    watched(|| {
        let mut server = Server::memcached(&[]);
        let drivers: [Box<dyn Driver>; 2] = [
            Box::new(driver(vec![at(&server)])),
            Box::new(Awaiting::on_one_thread(driver(vec![at(&server)]))),
        ];
        for driver in drivers {
            assert!(put(&*driver, "key", b"old").unwrap());
            let found = driver.get(&["key"], Instant::now() + PATIENCE).unwrap().remove(0);
            let old = found.unwrap().version.unwrap();
            server.pause();
            for _ in 0..2 {
                assert!(driver.get(&["key"], shortly()).is_err());
            }
            server.restart();
            assert!(put(&*driver, "key", b"new").unwrap());
            let is_same = server.ask(b"mg key c\r\n", b"\r\n");
            assert_eq!(is_same, b"HD c1\r\n", "the number that the old one had, too");
            let expected = Expected::Version(old);
            let stored = driver.set("key", b"late", None, expected, Instant::now() + PATIENCE);
            assert!(!stored.unwrap());
            server.restart();
        }
    });
}

#[test]
fn no_value_is_wrong_while_servers_are_killed_and_restarted() {
    watched(|| {
        let ways: [fn(Memcached) -> Box<dyn Driver>; 2] =
            [|driver| Box::new(driver), |driver| Box::new(Awaiting::on_threads(driver))];
        for way in ways {
            let mut servers: Vec<_> = (0..2).map(|_| Server::memcached(&[])).collect();
            let driver = way(Memcached::new(Config {
                retry_after: Duration::from_millis(20),
                ..Config::new(servers.iter().map(at).collect())
            }));
            let keys = keys();
            let is_over = AtomicBool::new(false);
            let right = AtomicU32::new(0);
            thread::scope(|scope| {
                for number in 0..16 {
                    let (driver, keys, is_over, right) = (&*driver, &keys, &is_over, &right);
                    scope.spawn(move || {
                        for round in number.. {
                            let key = &*keys[round * 7 % keys.len()];
                            let deadline = || Instant::now() + Duration::from_millis(100);
                            let expected =
                                if round % 2 == 0 { Expected::Anything } else { Expected::Nothing };
                            let _ = driver.set(key, key.as_bytes(), None, expected, deadline());
                            let other = &*keys[round * 3 % keys.len()];
                            for (key, found) in [key, other]
                                .into_iter()
                                .zip(driver.get(&[key, other], deadline()).into_iter().flatten())
                            {
                                assert!(found.as_ref().is_none_or(|it| it.value == key.as_bytes()), "{key}");
                                right.fetch_add(u32::from(found.is_some()), SeqCst);
                            }
                            if is_over.load(SeqCst) {
                                return;
                            }
                        }
                    });
                }
                for n in 0..6 {
                    let before = right.load(SeqCst);
                    eventually(|| right.load(SeqCst) > before + 100);
                    servers[n % 2].restart();
                }
                is_over.store(true, SeqCst);
            });
        }
    });
}
