//! What was measured on which machine.

use std::ffi::OsString;
use std::process::Command;
use std::{env, fs, thread};

/// What is compared.
const PACKAGES: [&str; 4] = ["cached-runtime", "cached", "moka", "quick_cache"];

/// The machine, the compiler and the versions of what is compared, in one line.
pub(crate) fn environment() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu_model(&cpuinfo).unwrap_or("unknown CPU");
    let cores = thread::available_parallelism().map_or_else(|_| "?".to_owned(), |cores| cores.to_string());
    let versions: Vec<_> = PACKAGES.iter().map(|package| version(LOCK, package)).collect();
    format!("{model}, {cores} cores; {}; {}", compiler(), versions.join(", "))
}

/// What this program was built from.
pub(crate) const LOCK: &str = include_str!("../../Cargo.lock");

fn cpu_model(cpuinfo: &str) -> Option<&str> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(':').map(|(_, model)| model.trim())
}

/// The cargo that runs this program, or the one that runs by default here.
pub(crate) fn cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// The compiler that runs by default here.
fn compiler() -> String {
    let output = Command::new("rustc").arg("--version").output().ok().filter(|it| it.status.success());
    let version = output.and_then(|output| String::from_utf8(output.stdout).ok());
    version.map_or_else(|| "rustc unknown".to_owned(), |version| version.trim().to_owned())
}

/// The package with its version in this lock file, with all of them if there are several.
fn version(lock: &str, package: &str) -> String {
    let packages = lock.split("[[package]]").filter(|text| value(text, "name") == Some(package));
    let versions: Vec<_> = packages.filter_map(|text| value(text, "version")).collect();
    if versions.is_empty() { format!("{package} ?") } else { format!("{package} {}", versions.join("/")) }
}

/// The value in the line `key = "value"`.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_is_read_from_its_first_core() {
        assert_eq!(
            cpu_model("processor\t: 0\nmodel name\t: Fast CPU: 2\nmodel name\t: Other\n"),
            Some("Fast CPU: 2")
        );
        assert_eq!(cpu_model(""), None);
    }

    #[test]
    fn versions_are_those_of_the_lock_file() {
        let lock = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\n\n\
            [[package]]\nname = \"b\"\nversion = \"2.0.0\"\n\n[[package]]\nname = \"b\"\nversion = \"3.0.0\"\n";
        assert_eq!(version(lock, "a"), "a 1.0.0");
        assert_eq!(version(lock, "b"), "b 2.0.0/3.0.0");
        assert_eq!(version(lock, "c"), "c ?");
    }
}
