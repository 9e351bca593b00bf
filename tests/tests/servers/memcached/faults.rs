//! What can go wrong on the way: an operation ends by its deadline, and later ones get their own answers.

use std::thread;
use std::time::{Duration, Instant};

use cached_runtime::backend::driver::{Answer, Driver, DriverError, Expected};
use cached_runtime::backend::memcached::Memcached;
use cached_tests::proxy::{Mode, Proxy};
use cached_tests::servers::Server;
use cached_tests::{eventually, watched};

use super::awaited::Awaiting;
use super::{At, at, driver, put, shortly, soon, through, value};

/// As it is, and awaited on tokio.
const WAYS: [fn(Memcached) -> Box<dyn Driver>; 2] =
    [|driver| Box::new(driver), |driver| Box::new(Awaiting::on_one_thread(driver))];

/// A driver that has used a connection through a proxy.
fn used(way: fn(Memcached) -> Box<dyn Driver>, proxy: &Proxy) -> Box<dyn Driver> {
    let driver = way(driver(vec![through(proxy)]));
    for key in ["one", "two"] {
        assert!(put(&*driver, key, key.as_bytes()).unwrap());
    }
    driver
}

/// What each operation answers, with so much time.
fn all(driver: &dyn Driver, deadline: fn() -> Instant) -> [Answer<()>; 4] {
    [
        driver.get(&["one"], deadline()).map(drop),
        driver.get(&["two", "one"], deadline()).map(drop),
        driver.set("three", b"three", None, Expected::Nothing, deadline()).map(drop),
        driver.delete("four", Expected::Anything, deadline()).map(drop),
    ]
}

fn is_well(driver: &dyn Driver) {
    for key in ["one", "two"] {
        assert_eq!(value(driver, key).unwrap().as_deref(), Some(key.as_bytes()));
    }
    let found = driver.get(&["two", "nothing", "one"], soon()).unwrap();
    let found: Vec<_> = found.iter().map(|found| found.as_ref().map(|it| &*it.value)).collect();
    assert_eq!(found, [Some(&b"two"[..]), None, Some(b"one")]);
}

fn fails(mode: Mode, is_right: impl Fn(&DriverError) -> bool) {
    let server = Server::memcached(&[]);
    let proxy = Proxy::to(server.address());
    // What fails in another way than by being late does so with all the time there is.
    let deadline = if is_right(&DriverError::TimedOut) { shortly } else { soon };
    for way in WAYS {
        let driver = used(way, &proxy);
        for _ in 0..2 {
            proxy.set(mode);
            for answer in all(&*driver, deadline) {
                let error = answer.expect_err("it cannot be answered");
                assert!(is_right(&error), "{mode:?}: {error:?}");
            }
            proxy.set(Mode::Pass);
            is_well(&*driver);
        }
    }
}

fn is_late(error: &DriverError) -> bool {
    matches!(error, DriverError::TimedOut)
}

fn is_lost(error: &DriverError) -> bool {
    matches!(error, DriverError::Unavailable(_))
}

fn is_nonsense(error: &DriverError) -> bool {
    matches!(error, DriverError::Failed(_))
}

#[test]
fn swallowed_bytes() {
    watched(|| fails(Mode::Swallow, is_late));
}

#[test]
fn a_slow_drip() {
    // Each byte comes in time, all of them do not.
    watched(|| fails(Mode::Drip(Duration::from_millis(20)), is_late));
}

#[test]
fn late_answers_are_not_taken_for_those_to_later_commands() {
    watched(|| fails(Mode::Late(Duration::from_millis(500)), is_late));
}

#[test]
fn refused_connections() {
    watched(|| fails(Mode::Refuse, is_lost));
}

#[test]
fn connections_that_are_closed_at_once() {
    watched(|| fails(Mode::Close, is_lost));
}

#[test]
fn half_an_answer() {
    watched(|| fails(Mode::Half, is_lost));
}

#[test]
fn garbage() {
    watched(|| {
        for garbage in [&b"\0\xFF\r\n"[..], b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\n", &[b'x'; 10_000]] {
            fails(Mode::Answer(garbage), is_nonsense);
        }
    });
}

#[test]
fn answers_to_something_else() {
    watched(|| {
        for answer in
            [&b"HD O4294967295\r\n"[..], b"VA 1 c1 O4294967295\r\nx\r\n", b"HD\r\n", b"VA 1 c1\r\nx\r\n"]
        {
            fails(Mode::Answer(answer), is_nonsense);
        }
    });
}

#[test]
fn a_length_beyond_all_bounds() {
    watched(|| {
        fails(Mode::Answer(b"VA 99999999999 c1 O1\r\nx\r\n"), is_nonsense);
        // Announced within the bounds, and never sent.
        fails(Mode::Answer(b"VA 60000000 c1 O1\r\nx\r\n"), is_late);
    });
}

#[test]
fn a_server_that_says_it_cannot() {
    watched(|| {
        fails(Mode::Answer(b"SERVER_ERROR backend is down\r\n"), is_lost);
        fails(Mode::Answer(b"CLIENT_ERROR bad command line format\r\n"), is_nonsense);
        fails(Mode::Answer(b"ERROR\r\n"), |error| matches!(error, DriverError::Unsupported(_)));
    });
}

#[test]
fn after_an_error_another_connection_is_used() {
    watched(|| {
        let server = Server::memcached(&[]);
        let proxy = Proxy::to(server.address());
        for way in WAYS {
            let before = proxy.accepted();
            let driver = used(way, &proxy);
            assert_eq!(proxy.accepted() - before, 1);
            proxy.set(Mode::Answer(b"SERVER_ERROR busy\r\n"));
            assert!(is_lost(&driver.get(&["one"], soon()).unwrap_err()));
            proxy.set(Mode::Pass);
            is_well(&*driver);
            assert_eq!(proxy.accepted() - before, 2);
        }
    });
}

#[test]
fn bytes_that_nobody_asked_for() {
    watched(|| {
        let server = Server::memcached(&[]);
        let proxy = Proxy::to(server.address());
        for way in WAYS {
            let driver = used(way, &proxy);
            // Each answer is right, as far as it goes.
            proxy.set(Mode::Answer(b"EN\r\nHD O1\r\n"));
            let _ = driver.get(&["one"], soon());
            proxy.set(Mode::Pass);
            is_well(&*driver);
        }
    });
}

#[test]
fn a_paused_server() {
    watched(|| {
        let server = Server::memcached(&[]);
        for way in WAYS {
            let driver = way(driver(vec![at(&server)]));
            for key in ["one", "two"] {
                assert!(put(&*driver, key, key.as_bytes()).unwrap());
            }
            server.pause();
            for answer in all(&*driver, shortly) {
                assert!(is_late(&answer.expect_err("it stands still")));
            }
            server.resume();
            is_well(&*driver);
        }
    });
}

/// To connect to it would block, since more connections wait for it than it allows.
#[test]
fn a_paused_server_on_a_unix_socket_that_is_full() {
    watched(|| {
        let server = Server::memcached_on_a_socket(&["-b", "1"]);
        for way in WAYS {
            let driver = way(driver(vec![At::unix(server.socket())]));
            // Those before may still wait for it, too.
            eventually(|| matches!(put(&*driver, "one", b"one"), Ok(true)));
            assert!(put(&*driver, "two", b"two").unwrap());
            server.pause();
            for _ in 0..3 {
                for answer in all(&*driver, shortly) {
                    let error = answer.expect_err("it stands still");
                    assert!(is_late(&error) || is_lost(&error), "{error:?}");
                }
            }
            server.resume();
            // Until it has taken those that wait.
            eventually(|| value(&*driver, "one").is_ok());
            is_well(&*driver);
        }
    });
}

#[test]
fn connections_that_a_restart_closed_cost_no_failure() {
    watched(|| {
        let mut server = Server::memcached(&[]);
        let driver = driver(vec![at(&server)]);
        // Several idle connections.
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert!(put(&driver, "key", b"value").unwrap()));
            }
        });
        server.restart();
        assert_eq!(value(&driver, "key").unwrap(), None);
        assert!(driver.set("key", b"new", None, Expected::Nothing, soon()).unwrap());
        server.restart();
        assert!(driver.set("key", b"new", None, Expected::Nothing, soon()).unwrap(), "nor a condition");
        server.restart();
        assert!(!driver.delete("key", Expected::Anything, soon()).unwrap());
    });
}

#[test]
fn threads_get_their_own_answers_while_everything_goes_wrong() {
    watched(|| everything_goes_wrong(|driver| Box::new(driver)));
}

#[test]
fn tasks_get_their_own_answers_while_everything_goes_wrong() {
    watched(|| everything_goes_wrong(|driver| Box::new(Awaiting::on_threads(driver))));
}

fn everything_goes_wrong(way: fn(Memcached) -> Box<dyn Driver>) {
    let server = Server::memcached(&[]);
    let proxy = Proxy::to(server.address());
    let driver = way(driver(vec![through(&proxy)]));
    let keys: Vec<String> = (0..50).map(|n| format!("key:{n}")).collect();
    let is_right = |key: &str, value: &[u8]| value.starts_with(key.as_bytes());
    thread::scope(|scope| {
        for number in 0..8 {
            let (driver, keys) = (&*driver, &keys);
            scope.spawn(move || {
                for round in 0..150 {
                    let key = &keys[(number * 7 + round) % keys.len()];
                    let text = format!("{key}\r\n{}", "x".repeat(round * 20));
                    let _ = driver.set(key, text.as_bytes(), None, Expected::Anything, shortly());
                    let other = &keys[(number + round * 3) % keys.len()];
                    if let Ok(found) = driver.get(&[key, other], shortly()) {
                        for (key, found) in [key, other].into_iter().zip(found) {
                            let value = found.map(|found| found.value);
                            assert!(value.is_none_or(|it| is_right(&format!("{key}\r\n"), &it)), "{key}");
                        }
                    }
                }
            });
        }
        let modes = [
            Mode::Late(Duration::from_millis(60)),
            Mode::Half,
            Mode::Pass,
            Mode::Close,
            Mode::Swallow,
            Mode::Pass,
            Mode::Drip(Duration::from_millis(1)),
            Mode::Refuse,
        ];
        for mode in modes.iter().cycle().take(24) {
            proxy.set(*mode);
            thread::sleep(Duration::from_millis(30));
        }
        proxy.set(Mode::Pass);
    });
    assert!(put(&*driver, "one", b"one").unwrap() && put(&*driver, "two", b"two").unwrap());
    is_well(&*driver);
}
