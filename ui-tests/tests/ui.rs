//! Compares what the compiler says with what it should say.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use cached_ui_tests::{COMPILER, is_expected_compiler};

#[test]
fn messages_are_as_expected() {
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(compiler).arg("--version").output().expect("there is a compiler");
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let cases = trybuild::TestCases::new();
    cases.pass("pass/*.rs");
    if is_expected_compiler(&version) {
        cases.compile_fail("fail/*/*.rs");
    } else {
        // Past what the test harness captures.
        let mut shown = std::io::stderr();
        let _ = writeln!(shown, "skipped: the messages are those of rustc {COMPILER}, and this is {version}");
    }
}

/// All expectations, with their texts.
fn expectations() -> Vec<(PathBuf, String)> {
    let folders = Path::new(env!("CARGO_MANIFEST_DIR")).join("fail").read_dir().expect("there is a folder");
    let files =
        folders.flat_map(|folder| folder.expect("it is read").path().read_dir().expect("it is a folder"));
    files
        .map(|file| file.expect("it is read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "stderr"))
        .map(|path| (path.clone(), std::fs::read_to_string(path).expect("it is read")))
        .collect()
}

#[test]
fn every_fault_has_a_message_that_fits_on_a_screen_and_names_nothing_private() {
    const SCREEN: usize = 48;
    let expectations = expectations();
    assert!(expectations.len() > 50);
    for (path, text) in expectations {
        let has_several = path.parent().is_some_and(|folder| folder.ends_with("several"));
        let path = path.display();
        let lines = text.lines().count();
        assert!(lines > 0 && (lines < SCREEN || has_several), "{path}: {lines} lines");
        for private in ["Refused", "Unusable", "NoValue", "NoWhole", "OfPlain", "OfResult", "Computation"] {
            assert!(!text.contains(private), "{path} names {private}");
        }
    }
}
