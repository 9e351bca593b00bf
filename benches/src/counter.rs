//! The second program, `compare-memory`, built and asked: its allocator counts, which would slow down
//! what is timed.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::machine;

/// Built in the way and the place in which this program was built, as whoever runs one has not built the
/// other.
pub(crate) struct Counter(PathBuf);

impl Counter {
    pub(crate) fn build() -> io::Result<Self> {
        let this = std::env::current_exe()?;
        let (folder, target) = this
            .parent()
            .and_then(|folder| Some((folder, folder.parent()?)))
            .ok_or_else(|| io::Error::other("this program is in no target folder"))?;
        let status = Command::new(machine::cargo())
            .args(["build", "--quiet", "--bin", "compare-memory", "--profile"])
            .arg(profile(folder))
            .arg("--target-dir")
            .arg(target)
            .args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")])
            .stdout(Stdio::null())
            .status()?;
        if !status.success() {
            return Err(io::Error::other("`compare-memory` could not be built"));
        }
        Ok(Self(folder.join("compare-memory").with_extension(std::env::consts::EXE_EXTENSION)))
    }

    /// What it prints.
    pub(crate) fn ask(&self, arguments: &[&str]) -> io::Result<String> {
        let output = Command::new(&self.0).args(arguments).output()?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let message = String::from_utf8_lossy(&output.stderr);
        Err(io::Error::other(format!("compare-memory {}: {}", arguments.join(" "), message.trim())))
    }
}

/// The profile whose programs are in this folder.
fn profile(folder: &Path) -> &OsStr {
    match folder.file_name() {
        Some(name) if name != "debug" => name,
        _ => OsStr::new("dev"),
    }
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
