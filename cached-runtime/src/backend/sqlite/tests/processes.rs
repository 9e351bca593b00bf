//! Processes are this test program again, told by an environment variable what to do.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use super::*;

const TASK: &str = "CACHED_SQLITE_TASK";
const FILE: &str = "CACHED_SQLITE_FILE";

fn process(task: &str, file: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "backend::sqlite::tests::processes::as_a_process_of_its_own"])
        .env(TASK, task)
        .env(FILE, file)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Does nothing unless it was started by another test.
#[test]
fn as_a_process_of_its_own() {
    let (Ok(task), Some(file)) = (std::env::var(TASK), std::env::var_os(FILE)) else { return };
    listen();
    let sqlite = Sqlite::new(Config { max_bytes: 1 << 20, ..Config::new(file) });
    match &*task {
        "answer" => {
            let question = sqlite.value("question").unwrap();
            let version = sqlite.version("question");
            assert!(!sqlite.put_if("question", b"late", Expected::Nothing));
            assert!(sqlite.put("answer", &[&question[..], b", answered"].concat()));
            assert!(sqlite.put_if("question", b"done", Expected::Version(version)));
        }
        "count" => (0..200).for_each(|_| increment(&sqlite)),
        "write" => write(&sqlite),
        "heal" => {
            assert!(sqlite.put(&format!("{}", std::process::id()), b"here"));
            println!("set aside {}", sqlite.set_aside().len());
        }
        _ => panic!("{task}"),
    }
}

fn increment(sqlite: &Sqlite) {
    loop {
        let found = sqlite.found("count").unwrap();
        let count: u64 = String::from_utf8(found.value).unwrap().parse().unwrap();
        let expected = Expected::Version(found.version.unwrap());
        if sqlite.put_if("count", (count + 1).to_string().as_bytes(), expected) {
            break;
        }
    }
}

/// Values that tell of which key they are, of many sizes, for as long as nobody ends it.
fn write(sqlite: &Sqlite) {
    let mut numbers = Numbers(u64::from(std::process::id()) << 20 | 1);
    println!("\nbegun");
    loop {
        let key = numbers.below(200);
        if numbers.below(10) == 0 {
            sqlite.remove(&format!("{key}"), Expected::Anything);
        } else {
            let length = 20 + numbers.below(30_000);
            sqlite.put(&format!("{key}"), &value(key, length));
        }
    }
}

fn value(key: usize, length: usize) -> Vec<u8> {
    format!("{length} bytes of {key};").into_bytes().into_iter().cycle().take(length).collect()
}

#[test]
fn what_one_process_stores_another_finds() {
    let folder = Folder::new();
    let sqlite = folder.open();
    sqlite.put("question", b"seven");
    assert!(process("answer", &folder.file()).wait().unwrap().success());
    assert_eq!(sqlite.value("answer").unwrap(), b"seven, answered");
    assert_eq!(sqlite.value("question").unwrap(), b"done");
}

#[test]
fn no_process_overwrites_what_it_did_not_expect() {
    let folder = Folder::new();
    let sqlite = folder.open();
    sqlite.put("count", b"0");
    let others: Vec<Child> = (0..3).map(|_| process("count", &folder.file())).collect();
    (0..200).for_each(|_| increment(&sqlite));
    for mut other in others {
        assert!(other.wait().unwrap().success());
    }
    assert_eq!(sqlite.value("count").unwrap(), b"800");
}

#[test]
fn processes_that_are_killed_leave_a_file_that_serves() {
    let folder = Folder::new();
    let mut numbers = Numbers(29);
    for round in 0..25 {
        let mut others: Vec<Child> = (0..2).map(|_| process("write", &folder.file())).collect();
        // Every other time it is killed while it opens the file.
        if round % 2 == 0 {
            let output = BufReader::new(others[0].stdout.take().unwrap());
            assert!(output.lines().any(|line| line.unwrap() == "begun"));
        }
        std::thread::sleep(Duration::from_micros(numbers.next() % 40_000));
        for other in &mut others {
            other.kill().unwrap();
            other.wait().unwrap();
        }
        let sqlite = folder.open();
        for key in 0..200 {
            if let Some(found) = sqlite.value(&format!("{key}")) {
                assert_eq!(found, value(key, found.len()));
            }
        }
        assert!(sqlite.put("mine", b"mine"));
        assert_eq!(sqlite.set_aside(), NOTHING);
        drop(sqlite);
        let check: String =
            plain(&folder.file()).query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(check, "ok");
    }
}

#[test]
fn a_bad_file_is_set_aside_by_one_process_alone() {
    for _ in 0..5 {
        let folder = Folder::new();
        fs::write(folder.file(), "no database").unwrap();
        let others: Vec<Child> = (0..4).map(|_| process("heal", &folder.file())).collect();
        let mut set_aside = 0;
        let ids: Vec<u32> = others.iter().map(Child::id).collect();
        for other in others {
            let output = other.wait_with_output().unwrap();
            assert!(output.status.success());
            set_aside += String::from_utf8(output.stdout).unwrap().matches("set aside 1").count();
        }
        assert_eq!(set_aside, 1);
        let sqlite = folder.open();
        for id in ids {
            assert_eq!(sqlite.value(&id.to_string()).unwrap(), b"here");
        }
    }
}
