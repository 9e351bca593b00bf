//! `memcached://`, below everything that is the same for all engines.

mod awaited;
mod away;
mod discovery;
mod events;
mod faults;
mod limits;
mod several;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cached_runtime::backend::driver::{Answer, Driver, DriverError, Expected};
use cached_runtime::backend::memcached::{Config, Memcached};
use cached_runtime::testing;
use cached_tests::proxy::Proxy;
use cached_tests::servers::Server;
use cached_tests::{PATIENCE, watched};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use awaited::Awaiting;
use cached_runtime::backend::memcached::Server as At;

fn at(server: &Server) -> At {
    At::tcp("127.0.0.1", server.port())
}

fn through(proxy: &Proxy) -> At {
    At::tcp("127.0.0.1", proxy.address().port())
}

/// A driver with time enough to connect on a machine that is busy.
fn driver(servers: Vec<At>) -> Memcached {
    Memcached::new(Config { connect_timeout: Duration::from_secs(5), ..Config::new(servers) })
}

fn soon() -> Instant {
    Instant::now() + PATIENCE
}

/// A deadline that an operation is expected to miss.
fn shortly() -> Instant {
    Instant::now() + Duration::from_millis(50)
}

fn value(driver: &dyn Driver, key: &str) -> Answer<Option<Vec<u8>>> {
    let mut found = driver.get(&[key], soon())?;
    assert_eq!(found.len(), 1);
    Ok(found.remove(0).map(|found| found.value))
}

fn put(driver: &dyn Driver, key: &str, value: &[u8]) -> Answer<bool> {
    driver.set(key, value, None, Expected::Anything, soon())
}

#[test]
fn it_conforms() {
    watched(|| {
        let server = Server::memcached(&[]);
        testing::conformance(|| Arc::new(driver(vec![at(&server)])));
    });
}

#[test]
fn it_conforms_on_a_unix_socket() {
    watched(|| {
        let server = Server::memcached_on_a_socket(&[]);
        testing::conformance(|| Arc::new(driver(vec![At::unix(server.socket())])));
    });
}

#[test]
fn it_conforms_on_several_servers() {
    watched(|| {
        let servers: Vec<_> = (0..3).map(|_| Server::memcached(&[])).collect();
        testing::conformance(|| Arc::new(driver(servers.iter().map(at).collect())));
        for server in &servers {
            let items = String::from_utf8(server.ask(b"stats\r\n", b"END\r\n")).unwrap();
            assert!(!items.contains("STAT cmd_set 0\r\n"), "each has had some of the keys");
        }
    });
}

#[test]
fn it_conforms_where_the_server_is_named() {
    watched(|| {
        let server = Server::memcached(&[]);
        testing::conformance(|| Arc::new(driver(vec![At::tcp("LocalHost", server.port())])));
    });
}

#[test]
fn a_server_that_is_not_there_is_unavailable_and_one_that_comes_is_used() {
    watched(|| {
        let mut server = Server::memcached(&[]);
        server.kill();
        let driver = driver(vec![at(&server)]);
        for _ in 0..5 {
            assert!(matches!(put(&driver, "key", b"value"), Err(DriverError::Unavailable(_))));
            assert!(matches!(value(&driver, "key"), Err(DriverError::Unavailable(_))));
        }
        server.restart();
        assert_eq!(value(&driver, "key").unwrap(), None);
        assert!(put(&driver, "key", b"value").unwrap());
        assert_eq!(value(&driver, "key").unwrap().as_deref(), Some(&b"value"[..]));
    });
}

#[test]
fn without_servers_it_is_unavailable() {
    let driver = driver(Vec::new());
    assert!(matches!(value(&driver, "key"), Err(DriverError::Unavailable(_))));
    assert!(matches!(put(&driver, "key", b"value"), Err(DriverError::Unavailable(_))));
    let deleted = driver.delete("key", Expected::Anything, soon());
    assert!(matches!(deleted, Err(DriverError::Unavailable(_))));
}

#[test]
fn what_is_not_a_key_never_reaches_the_server() {
    watched(|| {
        let server = Server::memcached(&[]);
        let driver = driver(vec![at(&server)]);
        let long = "x".repeat(251);
        for key in ["", "a b", "a\r\nflush_all\r\n", "a\0", "ä", "\x7F", &long] {
            assert!(matches!(value(&driver, key), Err(DriverError::Failed(_))));
            assert!(matches!(put(&driver, key, b"value"), Err(DriverError::Failed(_))));
            for expected in [Expected::Anything, Expected::Nothing] {
                assert!(matches!(driver.delete(key, expected, soon()), Err(DriverError::Failed(_))));
            }
        }
        let stats = String::from_utf8(server.ask(b"stats\r\n", b"END\r\n")).unwrap();
        assert!(stats.contains("STAT cmd_flush 0\r\n") && stats.contains("STAT cmd_get 0\r\n"), "{stats}");
    });
}

/// More keys than are sent before their answers are read, and larger answers than a socket holds.
#[test]
fn a_great_many_keys_are_answered_in_order() {
    watched(|| {
        let servers: Vec<_> = (0..2).map(|_| Server::memcached(&[])).collect();
        let driver = driver(servers.iter().map(at).collect());
        let keys: Vec<String> = (0..3000).map(|n| format!("{n:0>100}")).collect();
        let value_of = |n: usize| n.to_string().repeat(500);
        for (n, key) in keys.iter().enumerate().filter(|(n, _)| n % 3 != 0) {
            assert!(put(&driver, key, value_of(n).as_bytes()).unwrap());
        }
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let found = driver.get(&keys, soon()).unwrap();
        for (n, found) in found.iter().enumerate() {
            let expected = (n % 3 != 0).then(|| value_of(n).into_bytes());
            assert!(found.as_ref().map(|it| &it.value) == expected.as_ref(), "key {n}");
        }
    });
}

/// Neither end reads while it cannot write: what is sent and not answered must be little.
#[test]
fn more_is_asked_and_answered_than_a_connection_holds() {
    watched(|| {
        let server = Server::memcached(&[]);
        let driver = driver(vec![at(&server)]);
        let (key, large) = ("k".repeat(250), vec![b'x'; 2000]);
        assert!(put(&driver, &key, &large).unwrap());
        let found = driver.get(&vec![&*key; 50_000], soon()).unwrap();
        assert!(found.iter().all(|found| found.as_ref().is_some_and(|it| it.value == large)));
    });
}

#[test]
fn several_keys_cost_one_round_trip_to_each_server() {
    watched(|| {
        let server = Server::memcached(&[]);
        let proxy = Proxy::to(server.address());
        let driver = driver(vec![through(&proxy)]);
        proxy.set(cached_tests::proxy::Mode::Late(Duration::from_millis(20)));
        let keys: Vec<String> = (0..100).map(|n| format!("key:{n}")).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        // One after another they would take two seconds.
        let found = driver.get(&keys, Instant::now() + Duration::from_millis(1500)).unwrap();
        assert_eq!((found.len(), proxy.accepted()), (100, 1));
    });
}

#[test]
fn any_bytes_come_back_as_they_were() {
    watched(|| {
        let servers: Vec<_> = (0..2).map(|_| Server::memcached(&[])).collect();
        let blocking = driver(servers.iter().map(at).collect());
        let awaited = Awaiting::on_one_thread(driver(servers.iter().map(at).collect()));
        let entries =
            prop::collection::vec(("[!-~]{1,40}", prop::collection::vec(any::<u8>(), 0..3000)), 1..8);
        let test = |entries: Vec<(String, Vec<u8>)>| {
            let drivers: [&dyn Driver; 2] = [&blocking, &awaited];
            for (n, driver) in drivers.iter().enumerate() {
                let entries: BTreeMap<_, _> = entries.iter().cloned().collect();
                for (key, value) in &entries {
                    assert!(put(*driver, key, value).unwrap());
                }
                let keys: Vec<&str> = entries.keys().map(String::as_str).collect();
                let found = drivers[1 - n].get(&keys, soon()).unwrap();
                let found: Vec<_> = found.into_iter().map(|found| found.unwrap().value).collect();
                assert!(found.iter().eq(entries.values()));
            }
            Ok(())
        };
        TestRunner::default().run(&entries, test).unwrap();
    });
}
