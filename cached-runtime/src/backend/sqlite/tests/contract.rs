use super::*;
use crate::backend::driver::DriverError;

#[test]
fn what_was_stored_is_found_under_its_key_alone() {
    let folder = Folder::new();
    let sqlite = folder.open();
    assert!(sqlite.put("a", b"\0one\xff"));
    assert!(sqlite.put("b", b"two"));
    assert_eq!(sqlite.value("a").unwrap(), b"\0one\xff");
    let found = sqlite.get(&["b", "missing", "a", "b"], deadline()).unwrap();
    let values: Vec<_> = found.iter().map(|it| it.as_ref().map(|it| &it.value[..])).collect();
    assert_eq!(values, [Some(&b"two"[..]), None, Some(b"\0one\xff"), Some(b"two")]);
    assert_eq!(sqlite.get(&[], deadline()).unwrap(), []);
}

#[test]
fn keys_differ_by_case_and_by_what_looks_like_a_pattern() {
    let folder = Folder::new();
    let sqlite = folder.open();
    for key in ["k", "K", "%", "_", "'", "\";--", "1", "01", "1.0"] {
        assert!(sqlite.put_if(key, key.as_bytes(), Expected::Nothing), "{key}");
    }
    for key in ["k", "K", "%", "_", "'", "\";--", "1", "01", "1.0"] {
        assert_eq!(sqlite.value(key).unwrap(), key.as_bytes());
    }
}

#[test]
fn nothing_is_expected_of_an_empty_place_alone() {
    let folder = Folder::new();
    let sqlite = folder.open();
    assert!(sqlite.put_if("a", b"1", Expected::Nothing));
    assert!(!sqlite.put_if("a", b"2", Expected::Nothing));
    assert_eq!(sqlite.value("a").unwrap(), b"1");
    assert!(!sqlite.remove("a", Expected::Nothing));
    assert!(sqlite.remove("a", Expected::Anything));
    assert!(!sqlite.remove("a", Expected::Anything));
    assert!(sqlite.put_if("a", b"3", Expected::Nothing));
}

#[test]
fn a_version_is_expected_of_the_value_that_had_it() {
    let folder = Folder::new();
    let sqlite = folder.open();
    assert!(!sqlite.put_if("a", b"0", Expected::Version(Version(7))));
    sqlite.put("a", b"1");
    let first = sqlite.version("a");
    assert!(!sqlite.put_if("b", b"0", Expected::Version(first)));
    assert!(sqlite.put_if("a", b"2", Expected::Version(first)));
    assert!(!sqlite.put_if("a", b"3", Expected::Version(first)));
    assert!(!sqlite.remove("a", Expected::Version(first)));
    assert_eq!(sqlite.value("a").unwrap(), b"2");
    assert!(sqlite.remove("a", Expected::Version(sqlite.version("a"))));
    assert_eq!(sqlite.value("a"), None);
}

#[test]
fn a_version_does_not_come_back_with_the_same_bytes() {
    let folder = Folder::new();
    let sqlite = folder.open();
    let mut seen = Vec::new();
    for round in 0..50 {
        sqlite.put("a", b"same");
        let version = sqlite.version("a");
        assert!(!seen.contains(&version));
        seen.push(version);
        if round % 2 == 0 {
            sqlite.remove("a", Expected::Anything);
        }
    }
}

#[test]
fn one_of_many_threads_replaces_a_version() {
    let folder = Folder::new();
    let sqlite = folder.open();
    sqlite.put("a", b"0");
    for _ in 0..20 {
        let version = sqlite.version("a");
        let won: usize = std::thread::scope(|scope| {
            let set = || sqlite.put_if("a", b"1", Expected::Version(version));
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(set)).collect();
            threads.into_iter().map(|it| usize::from(it.join().unwrap())).sum()
        });
        assert_eq!(won, 1);
    }
}

#[test]
fn what_has_expired_is_as_good_as_absent() {
    let (folder, time) = (Folder::new(), Time::new());
    let sqlite = folder.open_with(1 << 20, &time);
    let second = Some(Duration::from_secs(1));
    sqlite.try_put("a", b"1", second, Expected::Anything).unwrap();
    let version = sqlite.version("a");
    time.advance(999);
    assert!(sqlite.value("a").is_some());
    time.advance(1);
    assert_eq!(sqlite.value("a"), None);
    assert!(!sqlite.put_if("a", b"2", Expected::Version(version)));
    assert!(!sqlite.remove("a", Expected::Version(version)));
    assert!(!sqlite.remove("a", Expected::Anything));
    assert!(sqlite.put_if("a", b"3", Expected::Nothing));
    assert_eq!(sqlite.value("a").unwrap(), b"3");
    assert_ne!(sqlite.version("a"), version);
}

#[test]
fn lifetimes_may_be_as_short_and_as_long_as_can_be() {
    let (folder, time) = (Folder::new(), Time::new());
    let sqlite = folder.open_with(1 << 20, &time);
    sqlite.try_put("short", b"1", Some(Duration::from_nanos(1)), Expected::Anything).unwrap();
    sqlite.try_put("long", b"1", Some(Duration::MAX), Expected::Anything).unwrap();
    sqlite.try_put("no end", b"1", None, Expected::Anything).unwrap();
    assert!(sqlite.value("short").is_some());
    time.advance(1);
    assert_eq!(sqlite.value("short"), None);
    time.advance(i64::MAX / 2);
    assert!(sqlite.value("long").is_some());
    assert!(sqlite.value("no end").is_some());
}

#[test]
fn rows_from_the_future_are_absent_when_the_clock_was_set_back() {
    let (folder, time) = (Folder::new(), Time::new());
    let sqlite = folder.open_with(1 << 20, &time);
    time.advance(3_600_000);
    sqlite.put("a", b"1");
    let version = sqlite.version("a");
    time.advance(-3_600_000);
    assert_eq!(sqlite.value("a"), None);
    assert!(!sqlite.remove("a", Expected::Version(version)));
    assert!(sqlite.put_if("a", b"2", Expected::Nothing));
    assert_eq!(sqlite.value("a").unwrap(), b"2");
    // Within the tolerance.
    time.advance(-900);
    assert!(sqlite.value("a").is_some());
}

#[test]
fn a_value_that_is_too_large_leaves_nothing_behind() {
    let (folder, time) = (Folder::new(), Time::new());
    let sqlite = folder.open_with(1 << 20, &time);
    let large = vec![1; 600 * 1024];
    let put = |expected| sqlite.try_put("a", &large, MINUTE, expected);
    assert!(matches!(put(Expected::Anything), Err(DriverError::TooLarge)));
    assert!(matches!(put(Expected::Nothing), Err(DriverError::TooLarge)));
    assert!(matches!(put(Expected::Version(Version(1))), Ok(false)));
    sqlite.put("a", b"old");
    assert!(matches!(put(Expected::Nothing), Ok(false)));
    assert!(matches!(put(Expected::Version(Version(1))), Ok(false)));
    assert!(sqlite.value("a").is_some());
    assert!(matches!(put(Expected::Version(sqlite.version("a"))), Err(DriverError::TooLarge)));
    assert_eq!(sqlite.value("a"), None);
    sqlite.put("a", b"old");
    assert!(matches!(put(Expected::Anything), Err(DriverError::TooLarge)));
    assert_eq!(sqlite.value("a"), None);
}

#[test]
fn who_is_locked_out_gives_up_at_the_deadline_and_goes_on_afterwards() {
    let folder = Folder::new();
    let sqlite = folder.open();
    sqlite.put("a", b"1");
    let other = plain(&folder.file());
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let begun = Instant::now();
    let until = begun + Duration::from_millis(60);
    let set = sqlite.set("a", b"2", MINUTE, Expected::Anything, until);
    assert!(matches!(set, Err(DriverError::TimedOut)));
    let delete = sqlite.delete("a", Expected::Anything, Instant::now() + Duration::from_millis(60));
    assert!(matches!(delete, Err(DriverError::TimedOut)));
    assert!(begun.elapsed() >= Duration::from_millis(110));
    assert!(begun.elapsed() < Duration::from_secs(2));
    // Who reads does not wait for who writes.
    assert_eq!(sqlite.value("a").unwrap(), b"1");
    other.execute_batch("ROLLBACK").unwrap();
    assert!(sqlite.put("a", b"2"));
}

#[test]
fn a_deadline_that_has_passed_is_no_time() {
    let folder = Folder::new();
    let sqlite = folder.open();
    assert!(matches!(sqlite.get(&["a"], Instant::now()), Err(DriverError::TimedOut)));
    assert!(matches!(
        sqlite.set("a", b"1", None, Expected::Anything, Instant::now()),
        Err(DriverError::TimedOut)
    ));
}

#[test]
fn the_opening_of_a_file_that_is_locked_ends_by_the_deadline() {
    let folder = Folder::new();
    folder.open().put("a", b"1");
    let lock = plain(&folder.beside("-lock"));
    lock.execute_batch("PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE").unwrap();
    let sqlite = folder.open();
    let begun = Instant::now();
    let get = sqlite.get(&["a"], begun + Duration::from_millis(50));
    assert!(matches!(get, Err(DriverError::TimedOut)));
    assert!(begun.elapsed() < Duration::from_secs(2));
    lock.execute_batch("ROLLBACK").unwrap();
    assert_eq!(sqlite.value("a").unwrap(), b"1");
}

#[test]
fn many_threads_read_and_write_at_once() {
    let folder = Folder::new();
    let sqlite = folder.open();
    std::thread::scope(|scope| {
        for thread in 0..16_u32 {
            let sqlite = &sqlite;
            scope.spawn(move || {
                for number in 0..50_u32 {
                    let key = format!("{thread}:{number}");
                    assert!(sqlite.put_if(&key, key.as_bytes(), Expected::Nothing));
                    assert_eq!(sqlite.value(&key).unwrap(), key.as_bytes());
                }
            });
        }
    });
    assert_eq!(sqlite.rows(), 16 * 50);
}
