use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::backend::driver::DriverError;

fn fill(folder: &Folder, rows: usize) {
    let sqlite = folder.open();
    for row in 0..rows {
        assert!(sqlite.put(&format!("{row}"), &expected(row)));
    }
}

/// A value from which one can tell whose it is; every third has pages of its own.
fn expected(row: usize) -> Vec<u8> {
    let length = if row.is_multiple_of(3) { 9000 } else { 50 };
    format!("value of {row};").into_bytes().into_iter().cycle().take(length).collect()
}

/// It serves again, and nothing that was not stored.
fn check(folder: &Folder, rows: usize) -> Vec<PathBuf> {
    let sqlite = folder.open();
    for row in 0..rows {
        if let Some(value) = sqlite.value(&format!("{row}")) {
            assert_eq!(value, expected(row));
        }
    }
    assert!(sqlite.put("new", b"new"));
    assert_eq!(sqlite.value("new").unwrap(), b"new");
    sqlite.set_aside()
}

#[test]
fn values_survive_the_process() {
    let folder = Folder::new();
    fill(&folder, 10);
    let sqlite = folder.open();
    for row in 0..10 {
        assert_eq!(sqlite.value(&format!("{row}")).unwrap(), expected(row));
    }
    assert_eq!(sqlite.set_aside(), NOTHING);
}

#[test]
fn only_the_owner_can_read_the_files() {
    let folder = Folder::new();
    let sqlite = folder.open();
    sqlite.put("a", b"1");
    assert_eq!(folder.names(), ["cache.db", "cache.db-lock", "cache.db-shm", "cache.db-wal"]);
    for name in folder.names() {
        let mode = fs::metadata(folder.0.join(&name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn an_empty_file_that_others_may_read_becomes_private() {
    let folder = Folder::new();
    let file = folder.0.join("cache.db");
    fs::write(&file, b"").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    folder.open().put("a", b"1");
    for name in ["cache.db", "cache.db-wal", "cache.db-shm"] {
        // The log may have gone with the last connection.
        if let Ok(metadata) = fs::metadata(folder.0.join(name)) {
            assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{name}");
        }
    }
}

#[test]
fn nothing_is_opened_before_it_is_asked() {
    let folder = Folder::new();
    let _sqlite = folder.open();
    assert_eq!(folder.names(), [""; 0]);
}

#[test]
fn a_directory_that_is_missing_is_an_error_until_it_is_there() {
    let folder = Folder::new();
    let directory = folder.0.join("missing");
    let sqlite = Sqlite::new(Config::new(directory.join("cache.db")));
    let error = sqlite.get(&["a"], deadline()).unwrap_err();
    let DriverError::Unavailable(source) = error else { panic!("{error:?}") };
    assert!(source.to_string().contains("directory"), "{source}");
    assert!(source.to_string().contains("missing/cache.db"), "{source}");
    assert!(!directory.exists());
    fs::create_dir(&directory).unwrap();
    assert!(sqlite.put("a", b"1"));
}

#[test]
fn what_is_no_file_is_left_alone() {
    let folder = Folder::new();
    fs::create_dir(folder.file()).unwrap();
    let sqlite = folder.open();
    assert!(matches!(sqlite.get(&["a"], deadline()), Err(DriverError::Unavailable(_))));
    assert!(folder.file().is_dir());
    assert_eq!(folder.names(), ["cache.db"]);
}

#[test]
fn an_empty_file_is_made_use_of() {
    let folder = Folder::new();
    fs::write(folder.file(), []).unwrap();
    assert_eq!(check(&folder, 0), NOTHING);
}

#[test]
fn a_text_is_set_aside_and_kept() {
    for text in ["xy", "This is somebody's diary.\n", &"long ".repeat(10_000)] {
        let folder = Folder::new();
        fs::write(folder.file(), text).unwrap();
        let set_aside = check(&folder, 0);
        assert_eq!(set_aside.len(), 1);
        assert_eq!(fs::read_to_string(&set_aside[0]).unwrap(), text);
        assert_eq!(check(&folder, 0), NOTHING);
    }
}

#[test]
fn the_database_of_another_program_is_set_aside_with_its_log() {
    let folder = Folder::new();
    let theirs = plain(&folder.file());
    theirs
        .execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE theirs (x); INSERT INTO theirs VALUES (7)")
        .unwrap();
    // Its rows are in its log alone.
    let set_aside = check(&folder, 0);
    assert_eq!(set_aside.len(), 1);
    assert!(set_aside[0].to_str().unwrap().contains("cache.db.foreign-"));
    theirs.execute_batch("INSERT INTO theirs VALUES (8)").unwrap();
    let aside = plain(&set_aside[0]);
    let sum: i64 = aside.query_row("SELECT sum(x) FROM theirs", [], |row| row.get(0)).unwrap();
    assert_eq!(sum, 15);
    // To close them would remove the log by its old name.
    std::mem::forget(theirs);
    assert_eq!(check(&folder, 0), NOTHING);
}

#[test]
fn tables_that_were_tampered_with_are_not_trusted() {
    for change in [
        "DROP TABLE entries_1",
        "ALTER TABLE entries_1 DROP COLUMN value",
        "CREATE TRIGGER t AFTER INSERT ON entries_1 BEGIN DELETE FROM entries_1; END",
        "CREATE VIEW v AS SELECT 1",
        "DROP INDEX entries_1_expiry",
    ] {
        let folder = Folder::new();
        fill(&folder, 3);
        plain(&folder.file()).execute_batch(change).unwrap();
        assert_eq!(check(&folder, 3).len(), 1, "{change}");
    }
}

#[test]
fn tables_of_other_releases_are_left_alone() {
    let folder = Folder::new();
    fill(&folder, 3);
    plain(&folder.file()).execute_batch("CREATE TABLE entries_2 (x)").unwrap();
    assert_eq!(check(&folder, 3), NOTHING);
    assert_eq!(folder.open().value("1").unwrap(), expected(1));
}

/// The rows in the file itself, with nothing in the log.
fn closed(folder: &Folder, rows: usize) -> Vec<u8> {
    fill(folder, rows);
    plain(&folder.file()).execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    fs::read(folder.file()).unwrap()
}

#[test]
fn a_file_cut_at_any_length_is_begun_anew() {
    let folder = Folder::new();
    let whole = closed(&folder, 60);
    let mut numbers = Numbers(11);
    let random = (0..40).map(|_| numbers.below(whole.len())).collect::<Vec<_>>();
    for length in
        [15, 16, 99, 100, 511, 512, 4095, 4096, 4097, 8192, whole.len() - 1].into_iter().chain(random)
    {
        let folder = Folder::new();
        fs::write(folder.file(), &whole[..length]).unwrap();
        assert_eq!(check(&folder, 60).len(), 1, "{length}");
    }
}

#[test]
fn a_log_cut_at_any_length_loses_no_more_than_its_end() {
    let folder = Folder::new();
    fill(&folder, 60);
    let (file, log) = (fs::read(folder.file()).unwrap(), fs::read(folder.beside("-wal")).unwrap());
    let mut numbers = Numbers(13);
    for _ in 0..40 {
        let folder = Folder::new();
        fs::write(folder.file(), &file).unwrap();
        fs::write(folder.beside("-wal"), &log[..numbers.below(log.len())]).unwrap();
        check(&folder, 60);
    }
}

#[test]
fn a_log_with_other_bytes_ends_there() {
    let folder = Folder::new();
    fill(&folder, 60);
    let (file, log) = (fs::read(folder.file()).unwrap(), fs::read(folder.beside("-wal")).unwrap());
    let mut numbers = Numbers(17);
    for _ in 0..40 {
        let folder = Folder::new();
        let mut log = log.clone();
        let place = numbers.below(log.len());
        log[place] ^= 1 << numbers.below(8);
        fs::write(folder.file(), &file).unwrap();
        fs::write(folder.beside("-wal"), log).unwrap();
        check(&folder, 60);
    }
}

/// Values may be changed, which is for the entry's checksum to tell, but it serves again.
#[test]
fn a_file_with_other_bytes_serves_again() {
    let folder = Folder::new();
    let whole = closed(&folder, 60);
    let mut numbers = Numbers(19);
    for _ in 0..60 {
        let folder = Folder::new();
        let mut bytes = whole.clone();
        let (place, length) = (numbers.below(bytes.len()), 1 + numbers.below(6000));
        let end = bytes.len().min(place + length);
        bytes[place..end].copy_from_slice(&numbers.bytes(end - place));
        fs::write(folder.file(), bytes).unwrap();
        let sqlite = folder.open();
        for row in 0..60 {
            sqlite.found(&format!("{row}"));
            sqlite.put(&format!("{row}"), &expected(row));
        }
        // What was stored into the damaged file went with it.
        sqlite.rows();
        sqlite.set_aside();
        let kept = |row: &usize| sqlite.value(&format!("{row}")).is_some_and(|it| it == expected(*row));
        let all_kept = (0..60).all(|row| kept(&row));
        assert!(all_kept || !sqlite.set_aside().is_empty() || sqlite.rows() < 60);
        for row in 0..60 {
            sqlite.put(&format!("{row}"), &expected(row));
            assert!(kept(&row));
        }
    }
}

#[test]
fn random_bytes_are_set_aside() {
    let mut numbers = Numbers(23);
    for length in [2, 100, 4096, 50_000] {
        let folder = Folder::new();
        fs::write(folder.file(), numbers.bytes(length)).unwrap();
        fs::write(folder.beside("-wal"), numbers.bytes(length)).unwrap();
        fs::write(folder.beside("-journal"), numbers.bytes(length)).unwrap();
        assert_eq!(check(&folder, 0).len(), 1);
    }
}

#[test]
fn the_damaged_file_of_before_is_replaced() {
    let folder = Folder::new();
    for _ in 0..3 {
        let whole = closed(&folder, 30);
        fs::write(folder.file(), &whole[..8192]).unwrap();
        assert_eq!(check(&folder, 30).len(), 1);
    }
    let aside = folder.names().into_iter().filter(|name| name.contains("damaged"));
    assert!(aside.count() <= 4);
}

#[test]
fn a_file_that_was_removed_comes_back() {
    let folder = Folder::new();
    let (one, two) = (folder.open(), folder.open());
    one.put("a", b"1");
    assert_eq!(two.value("a").unwrap(), b"1");
    fs::remove_file(folder.file()).unwrap();
    assert_eq!(one.value("a"), None);
    one.put("a", b"2");
    assert_eq!(two.value("a").unwrap(), b"2");
    two.put("a", b"3");
    drop(two);
    assert_eq!(one.value("a").unwrap(), b"3");
    drop(one);
    assert_eq!(folder.open().value("a").unwrap(), b"3");
}

#[test]
fn all_files_may_be_removed_at_once() {
    let folder = Folder::new();
    let sqlite = folder.open();
    sqlite.put("a", b"1");
    for name in folder.names() {
        fs::remove_file(folder.0.join(name)).unwrap();
    }
    assert_eq!(sqlite.value("a"), None);
    assert!(sqlite.put("a", b"2"));
    assert_eq!(folder.open().value("a").unwrap(), b"2");
}

#[test]
fn a_file_that_was_emptied_or_replaced_serves_again() {
    let other = Folder::new();
    let replacement = closed(&other, 10);
    for bytes in [&[][..], &replacement, b"nonsense"] {
        let folder = Folder::new();
        let sqlite = folder.open();
        sqlite.put("a", b"1");
        fs::remove_file(folder.file()).unwrap();
        fs::write(folder.file(), bytes).unwrap();
        assert!(sqlite.put("b", b"2"));
        assert_eq!(sqlite.value("b").unwrap(), b"2");
        assert_eq!(folder.open().value("b").unwrap(), b"2");
    }
}

#[test]
fn a_file_that_is_emptied_where_it_is_serves_again() {
    let folder = Folder::new();
    let sqlite = folder.open();
    for row in 0..50 {
        sqlite.put(&format!("{row}"), &expected(row));
    }
    plain(&folder.file()).execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    fs::OpenOptions::new().write(true).truncate(true).open(folder.file()).unwrap();
    for row in 0..50 {
        if let Some(value) = sqlite.value(&format!("{row}")) {
            assert_eq!(value, expected(row));
        }
    }
    assert!(sqlite.put("b", b"2"));
    assert_eq!(sqlite.value("b").unwrap(), b"2");
    assert_eq!(folder.open().value("b").unwrap(), b"2");
}

#[test]
fn a_link_leads_to_the_same_file() {
    let folder = Folder::new();
    let link = folder.0.join("link.db");
    std::os::unix::fs::symlink(folder.file(), &link).unwrap();
    let one = folder.open();
    one.put("a", b"1");
    let two = Sqlite::new(Config::new(&link));
    assert_eq!(two.value("a").unwrap(), b"1");
    two.put("a", b"2");
    assert_eq!(one.value("a").unwrap(), b"2");
    assert!(!folder.names().contains(&"link.db-wal".to_owned()));
    assert!(!folder.names().contains(&"link.db-lock".to_owned()));
}

#[test]
fn what_a_disk_refuses_is_unavailable_and_comes_back() {
    let folder = Folder::new();
    let sqlite = folder.open();
    sqlite.put("a", b"1");
    let moved = folder.0.with_extension("moved");
    fs::rename(&folder.0, &moved).unwrap();
    assert!(matches!(sqlite.get(&["a"], deadline()), Err(DriverError::Unavailable(_))));
    let set = sqlite.set("a", b"2", MINUTE, Expected::Anything, deadline());
    assert!(matches!(set, Err(DriverError::Unavailable(_))));
    fs::rename(&moved, &folder.0).unwrap();
    assert_eq!(sqlite.value("a").unwrap(), b"1");
    assert!(sqlite.put("a", b"2"));
}

#[test]
fn a_lock_that_is_no_lock_is_an_error_that_names_it() {
    let folder = Folder::new();
    fs::write(folder.beside("-lock"), "no lock").unwrap();
    let error = folder.open().get(&["a"], deadline()).unwrap_err();
    let DriverError::Unavailable(source) = error else { panic!("{error:?}") };
    assert!(source.to_string().contains("cache.db-lock"), "{source}");
}
