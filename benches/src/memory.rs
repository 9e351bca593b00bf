//! Memory: how many bytes an entry takes, of all that a cache allocates.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::caches::NAMES;
use crate::machine;
use crate::report::{Findings, Row, Unit};

const ENTRIES: u64 = 1_000_000;

/// The names that `compare-memory` has for the cases, and ours.
const CASES: [(&str, &str); 2] =
    [("u64", "u64 -> u64"), ("String", "String (20 bytes) -> String (100 bytes)")];

pub(crate) fn run(quick: bool) -> io::Result<Findings> {
    let program = build()?;
    let cases = if quick { &CASES[..1] } else { &CASES[..] };
    let row = |(case, label): &(&str, &str)| {
        let figures = NAMES.iter().map(|cache| Ok((*cache, ask(&program, case, cache)?)));
        let figures = figures.collect::<io::Result<_>>()?;
        Ok(Row { case: (*label).to_owned(), figures, unit: Unit::BYTES_PER_ENTRY })
    };
    let rows = cases.iter().map(row).collect::<io::Result<_>>()?;
    let about = format!("{ENTRIES} entries, bytes as asked of the allocator, each cache in a new process");
    Ok(Findings { about, rows, footer: String::new() })
}

/// Builds `compare-memory` in the way and the place in which this program was built, as whoever runs one
/// has not built the other.
fn build() -> io::Result<PathBuf> {
    let this = std::env::current_exe()?;
    let (folder, target) = this
        .parent()
        .and_then(|folder| Some((folder, folder.parent()?)))
        .ok_or_else(|| io::Error::other("this program is in no target folder"))?;
    let profile = profile(folder);
    let status = Command::new(machine::cargo())
        .args(["build", "--quiet", "--bin", "compare-memory", "--profile"])
        .arg(profile)
        .arg("--target-dir")
        .arg(target)
        .args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")])
        .stdout(Stdio::null())
        .status()?;
    if !status.success() {
        return Err(io::Error::other("`compare-memory` could not be built"));
    }
    Ok(folder.join("compare-memory").with_extension(std::env::consts::EXE_EXTENSION))
}

/// The profile whose programs are in this folder.
fn profile(folder: &Path) -> &OsStr {
    match folder.file_name() {
        Some(name) if name != "debug" => name,
        _ => OsStr::new("dev"),
    }
}

fn ask(program: &Path, case: &str, cache: &str) -> io::Result<f64> {
    let output = Command::new(program).args([case, cache, &ENTRIES.to_string()]).output()?;
    let figure = String::from_utf8_lossy(&output.stdout).trim().parse().ok();
    figure.filter(|_| output.status.success()).ok_or_else(|| {
        let message = String::from_utf8_lossy(&output.stderr);
        io::Error::other(format!("compare-memory {case} {cache}: {}", message.trim()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_named_for_its_folder_but_for_the_first() {
        for (folder, expected) in [("/target/release", "release"), ("/target/debug", "dev"), ("/", "dev")] {
            assert_eq!(profile(Path::new(folder)), expected);
        }
    }
}
