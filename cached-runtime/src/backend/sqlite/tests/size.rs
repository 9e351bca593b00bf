use super::*;

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |it| it.len())
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_file_stays_within_its_bound_whatever_is_written() {
    for (sizes, lifetimes) in [(100, 1), (100, 1000), (8_000, 1000), (60_000, 50)] {
        let (folder, time) = (Folder::new(), Time::new());
        let max = 1 << 20;
        let sqlite = folder.open_with(max, &time);
        let mut numbers = Numbers(5);
        let (mut written, mut number) = (0, 0);
        while written < 4 * max {
            let value = vec![b'x'; sizes / 2 + numbers.below(sizes)];
            let ttl = Some(seconds(1 + numbers.below(lifetimes) as u64));
            let key = format!("cached:page:v1:{:032x}", numbers.next());
            assert!(sqlite.try_put(&key, &value, ttl, Expected::Anything).unwrap());
            assert!(sqlite.value(&key).is_some(), "stored and gone at once");
            written += value.len() as u64 + 50;
            number += 1;
            if number % 50 == 0 {
                assert!(length(&folder.file()) <= max, "{sizes} {lifetimes}");
                assert!(length(&folder.beside("-wal")) <= 16 * max, "{sizes} {lifetimes}");
            }
        }
        let bytes: i64 = sqlite
            .engine
            .read(deadline(), |it| {
                let sum = "SELECT sum(length(value) + 2 * length(key) + 40) FROM entries_1";
                Ok(it.query_row(sum, [], |it| it.get(0))?)
            })
            .unwrap();
        assert!(bytes.unsigned_abs() > max / 3, "{sizes} {lifetimes}: only {bytes} are kept");
    }
}

#[test]
fn what_expires_first_is_evicted_first() {
    let (folder, time) = (Folder::new(), Time::new());
    let sqlite = folder.open_with(1 << 20, &time);
    sqlite.try_put("first", b"1", Some(seconds(10)), Expected::Anything).unwrap();
    sqlite.try_put("last", b"1", Some(seconds(90_000)), Expected::Anything).unwrap();
    sqlite.try_put("no end", b"1", None, Expected::Anything).unwrap();
    sqlite.try_put("second", b"1", Some(seconds(20)), Expected::Anything).unwrap();
    for number in 0..200 {
        sqlite
            .try_put(&format!("{number}"), &[0; 8000], Some(seconds(100 + number)), Expected::Anything)
            .unwrap();
    }
    assert_eq!(sqlite.value("first"), None);
    assert_eq!(sqlite.value("second"), None);
    assert_eq!(sqlite.value("0"), None);
    assert!(sqlite.value("199").is_some());
    assert!(sqlite.value("last").is_some());
    assert!(sqlite.value("no end").is_some());
}

#[test]
fn of_what_never_expires_the_oldest_is_evicted_first() {
    let (folder, time) = (Folder::new(), Time::new());
    let sqlite = folder.open_with(1 << 20, &time);
    for number in 0..1000 {
        time.advance(1);
        sqlite.try_put(&format!("{number}"), &[0; 8000], None, Expected::Anything).unwrap();
    }
    let kept: Vec<bool> = (0..1000).map(|number| sqlite.value(&format!("{number}")).is_some()).collect();
    let first = kept.iter().position(|it| *it).unwrap();
    assert!((800..950).contains(&first), "{first}");
    assert!(kept[first..].iter().all(|it| *it));
}

#[test]
fn what_has_expired_goes_before_anything_that_lives() {
    let (folder, time) = (Folder::new(), Time::new());
    let sqlite = folder.open_with(1 << 20, &time);
    for number in 0..50 {
        sqlite.try_put(&format!("old {number}"), &[0; 8000], Some(seconds(1)), Expected::Anything).unwrap();
    }
    sqlite.try_put("short", b"1", Some(seconds(5)), Expected::Anything).unwrap();
    time.advance(1000);
    for number in 0..100 {
        sqlite.try_put(&format!("{number}"), &[0; 8000], Some(seconds(60)), Expected::Anything).unwrap();
    }
    assert_eq!(sqlite.rows(), 101);
    assert!(sqlite.value("short").is_some());
}

#[test]
fn expired_rows_go_without_any_call() {
    let (folder, time) = (Folder::new(), Time::new());
    let sqlite = folder.open_with(1 << 22, &time);
    for number in 0..1000 {
        sqlite.try_put(&format!("{number}"), &[0; 1000], Some(seconds(30)), Expected::Anything).unwrap();
    }
    sqlite.try_put("other", b"1", Some(seconds(90)), Expected::Anything).unwrap();
    let before = length(&folder.file());
    time.advance(30_000);
    let other = plain(&folder.file());
    let rows = || other.query_row("SELECT count(*) FROM entries_1", [], |it| it.get::<_, i64>(0)).unwrap();
    let begun = Instant::now();
    while rows() > 1 {
        sqlite.keeper.call();
        assert!(begun.elapsed() < Duration::from_secs(20));
        std::thread::yield_now();
    }
    // And their room is given back, as soon as the log is written into the file.
    while length(&folder.file()) > before / 2 {
        sqlite.keeper.call();
        other.execute_batch("PRAGMA wal_checkpoint(PASSIVE)").unwrap();
        assert!(begun.elapsed() < Duration::from_secs(20));
        std::thread::yield_now();
    }
    assert!(sqlite.value("other").is_some());
}

#[test]
fn expired_rows_go_after_the_file_was_opened_again() {
    let (folder, time) = (Folder::new(), Time::new());
    let sqlite = folder.open_with(1 << 22, &time);
    for number in 0..100 {
        sqlite.try_put(&format!("{number}"), b"1", Some(seconds(30)), Expected::Anything).unwrap();
    }
    drop(sqlite);
    time.advance(30_000);
    let sqlite = folder.open_with(1 << 22, &time);
    sqlite.try_put("new", b"1", Some(seconds(30)), Expected::Anything).unwrap();
    assert_eq!(sqlite.rows(), 1);
}

#[test]
fn a_file_that_was_allowed_to_be_larger_shrinks() {
    let (folder, time) = (Folder::new(), Time::new());
    let sqlite = folder.open_with(4 << 20, &time);
    for number in 0..400 {
        sqlite.try_put(&format!("{number}"), &[0; 8000], Some(seconds(30)), Expected::Anything).unwrap();
    }
    drop(sqlite);
    let max = 1 << 20;
    assert!(length(&folder.file()) > 2 * max);
    let sqlite = folder.open_with(max, &time);
    for number in 0..1000 {
        sqlite.try_put(&format!("new {number}"), &[0; 8000], Some(seconds(40)), Expected::Anything).unwrap();
        if number % 20 == 0 {
            sqlite.engine.tidy();
        }
    }
    assert!(length(&folder.file()) <= max, "{}", length(&folder.file()));
}

#[test]
fn the_thread_ends_with_the_engine() {
    let folder = Folder::new();
    let sqlite = folder.open();
    sqlite.put("a", b"1");
    let engine = Arc::downgrade(&sqlite.engine);
    drop(sqlite);
    let begun = Instant::now();
    while engine.strong_count() > 0 {
        assert!(begun.elapsed() < Duration::from_secs(5));
        std::thread::yield_now();
    }
}
