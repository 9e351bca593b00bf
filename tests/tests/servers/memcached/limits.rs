//! What a server has limits for: time, size, memory.

use std::time::Duration;

use cached_runtime::backend::driver::{Driver, DriverError, Expected};
use cached_tests::servers::Server;
use cached_tests::watched;

use super::{at, driver, put, soon, value};

/// What the server says is left of an item's time, in seconds; -1 is for ever.
fn time_left(server: &Server, key: &str) -> i64 {
    let answer = server.ask(format!("mg {key} t\r\n").as_bytes(), b"\r\n");
    let text = String::from_utf8(answer).unwrap();
    text.trim().strip_prefix("HD t").unwrap_or_else(|| panic!("{text}")).parse().unwrap()
}

#[test]
fn a_time_to_live_is_never_shortened_to_the_past_nor_rounded_to_for_ever() {
    const DAYS_30: u64 = 30 * 24 * 60 * 60;
    watched(|| {
        let server = Server::memcached(&[]);
        let driver = driver(vec![at(&server)]);
        let seconds = Duration::from_secs;
        let left_of = |ttl: Option<Duration>| {
            assert!(driver.set("key", b"value", ttl, Expected::Anything, soon()).unwrap());
            time_left(&server, "key")
        };
        assert_eq!(left_of(None), -1);
        for (ttl, most) in [
            (seconds(60), 60),
            (Duration::from_millis(59_001), 60),
            (seconds(DAYS_30), DAYS_30),
            (seconds(DAYS_30 + 1), DAYS_30 + 1),
            (seconds(2 * DAYS_30), 2 * DAYS_30),
        ] {
            let most = i64::try_from(most).unwrap();
            let left = left_of(Some(ttl));
            // The server's own clock ticks once in a second.
            assert!((most - 5..=most + 2).contains(&left), "{left} of {ttl:?}");
        }
        for ttl in [seconds(u64::from(u32::MAX)), seconds(u64::from(u32::MAX) + 1), Duration::MAX] {
            assert!(left_of(Some(ttl)) > i64::try_from(DAYS_30).unwrap(), "{ttl:?}");
        }
    });
}

#[test]
fn a_value_of_the_limit_is_refused_and_leaves_nothing() {
    watched(|| {
        let server = Server::memcached(&[]);
        let driver = driver(vec![at(&server)]);
        let limit = vec![b'x'; 1 << 20];
        let version = || driver.get(&["key"], soon()).unwrap()[0].as_ref().unwrap().version.unwrap();
        for expected in [|_| Expected::Anything, |_| Expected::Nothing, Expected::Version] {
            assert!(put(&driver, "key", b"old").unwrap());
            let stored = driver.set("key", &limit, None, expected(version()), soon());
            assert!(matches!(stored, Err(DriverError::TooLarge)), "{stored:?}");
            assert_eq!(value(&driver, "key").unwrap(), None);
        }
        let below = &limit[..(1 << 20) - 200];
        assert!(put(&driver, "key", below).unwrap());
        assert!(value(&driver, "key").unwrap().as_deref() == Some(below));
    });
}

#[test]
fn a_value_beyond_our_own_limit_is_refused_and_leaves_nothing() {
    watched(|| {
        let server = Server::memcached(&["-I", "8m"]);
        let driver = driver(vec![at(&server)]);
        let large = vec![b'x'; 65 << 20];
        assert!(put(&driver, "key", &large[..7 << 20]).unwrap(), "as much as the server was told to take");
        assert_eq!(value(&driver, "key").unwrap().map(|it| it.len()), Some(7 << 20));
        assert!(matches!(put(&driver, "key", &large), Err(DriverError::TooLarge)));
        assert_eq!(value(&driver, "key").unwrap(), None);
    });
}

#[test]
fn a_server_without_room_fails_and_goes_on() {
    watched(|| {
        // It may not let anything go to make room.
        let server = Server::memcached(&["-m", "4", "-M"]);
        let driver = driver(vec![at(&server)]);
        let kept = vec![b'x'; 100_000];
        let mut stored = 0;
        let error = loop {
            match put(&driver, &format!("key:{stored}"), &kept) {
                Ok(_) => stored += 1,
                Err(error) => break error,
            }
            assert!(stored < 10_000, "it is never full");
        };
        assert!(matches!(error, DriverError::Failed(_)), "{error:?}");
        assert_eq!(value(&driver, &format!("key:{stored}")).unwrap(), None);
        assert!(value(&driver, "key:0").unwrap().is_some());
    });
}

#[test]
fn a_server_without_versions_stores_and_tells_none() {
    watched(|| {
        let server = Server::memcached(&["-C"]);
        let driver = driver(vec![at(&server)]);
        assert!(put(&driver, "key", b"value").unwrap());
        let found = driver.get(&["key"], soon()).unwrap().remove(0).unwrap();
        assert_eq!((&*found.value, found.version), (&b"value"[..], None));
    });
}

#[test]
fn threads_share_the_connections_that_a_server_allows() {
    watched(|| {
        let server = Server::memcached(&["-t", "1", "-c", "24"]);
        let driver = driver(vec![at(&server)]);
        assert_eq!(value(&driver, "key").unwrap(), None);
        std::thread::scope(|scope| {
            for _ in 0..48 {
                scope.spawn(|| (0..20).all(|_| put(&driver, "key", b"value").unwrap()));
            }
        });
    });
}
