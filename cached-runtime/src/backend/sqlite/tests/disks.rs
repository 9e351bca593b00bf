use std::process::Command;

use super::*;
use crate::backend::driver::DriverError;

/// A file system of three megabytes.
struct Disk(Folder);

impl Disk {
    fn new() -> Self {
        let disk = Self(Folder::new());
        disk.run("mount", &["-t", "tmpfs", "-o", "size=3m", "tmpfs"]);
        disk
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let status = Command::new(program).args(arguments).arg(&self.0.0).status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0.0).status();
    }
}

fn put(sqlite: &Sqlite, value: &[u8]) -> Answer<bool> {
    sqlite.try_put("a", value, None, Expected::Anything)
}

#[test]
#[ignore = "only root can mount a file system"]
fn a_disk_that_is_full_is_unavailable_until_it_is_not() {
    let disk = Disk::new();
    let sqlite = disk.0.open();
    put(&sqlite, b"1").unwrap();
    let ballast = disk.0.0.join("ballast");
    fs::write(&ballast, vec![1; 4 << 20]).unwrap_err();
    for _ in 0..100 {
        assert!(matches!(put(&sqlite, &[2; 8000]), Err(DriverError::Unavailable(_))));
    }
    assert_eq!(sqlite.value("a").unwrap(), b"1");
    let other = Sqlite::new(Config::new(disk.0.0.join("other.db")));
    assert!(matches!(other.get(&["a"], deadline()), Err(DriverError::Unavailable(_))));
    fs::remove_file(ballast).unwrap();
    put(&sqlite, &[2; 8000]).unwrap();
    put(&other, b"1").unwrap();
    assert_eq!((sqlite.set_aside(), other.set_aside()), (vec![], vec![]));
}

#[test]
#[ignore = "only root can mount a file system"]
fn a_disk_that_can_only_be_read_is_read_and_written_as_soon_as_it_can_be() {
    let disk = Disk::new();
    put(&disk.0.open(), b"1").unwrap();
    let begun = Instant::now();
    // The thread may have the file open for a moment.
    while !Command::new("mount").args(["-o", "remount,ro"]).arg(&disk.0.0).status().unwrap().success() {
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
    let sqlite = disk.0.open();
    for _ in 0..3 {
        assert_eq!(sqlite.value("a").unwrap(), b"1");
        assert!(matches!(put(&sqlite, b"2"), Err(DriverError::Unavailable(_))));
    }
    disk.run("mount", &["-o", "remount,rw"]);
    put(&sqlite, b"2").unwrap();
    assert_eq!(sqlite.value("a").unwrap(), b"2");
    assert_eq!(sqlite.set_aside(), NOTHING);
}
