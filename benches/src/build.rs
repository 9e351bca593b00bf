//! Builds: how long a crate takes that uses a cache, how many crates come with it, and what annotated
//! functions add to a program.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;
use std::{fs, io};

use crate::machine::{self, LOCK};
use crate::measure::{Sampler, medians};
use crate::report::{Row, Unit};

pub(crate) fn about(quick: bool) -> String {
    let Effort { functions, rounds, profile, .. } = Effort::new(quick);
    format!(
        "clean builds, {functions} functions with the profile {profile}, medians of {rounds} rounds; `{}` is the same \
         without any cache",
        PLAIN.name
    )
}

pub(crate) fn run(quick: bool) -> io::Result<Vec<Row>> {
    let effort = Effort::new(quick);
    let folder = Folder::new()?;
    let samplers = SUBJECTS.map(|subject| {
        let package = folder.0.join(subject.name);
        Sampler::new(subject.name, move || sample(&package, subject, effort))
    });
    let cases = [
        Some(("empty crate, with all dependencies", Unit::SECONDS)),
        effort.twice.then_some(("functions, with all dependencies", Unit::SECONDS)),
        Some(("functions, the crate alone", Unit::SECONDS)),
        Some(("built besides the crate itself", Unit::CRATES)),
        Some(("the program", Unit::BYTES)),
    ];
    let cases = cases.into_iter().flatten().map(|(case, unit)| (case.to_owned(), unit));
    medians(samplers.into(), effort.rounds, cases.collect())
}

#[derive(Clone, Copy)]
struct Effort {
    functions: usize,
    rounds: usize,
    /// Of the functions; the empty crate's is always `dev`.
    profile: &'static str,
    /// Whether the dependencies are built a second time, for the functions.
    twice: bool,
}

impl Effort {
    fn new(quick: bool) -> Self {
        if quick {
            Self { functions: 20, rounds: 1, profile: "dev", twice: false }
        } else {
            Self { functions: 200, rounds: 5, profile: "release", twice: true }
        }
    }
}

/// What the crates that are built differ in.
#[derive(Clone, Copy)]
struct Subject {
    name: &'static str,
    dependency: &'static str,
    /// Above each function.
    attribute: &'static str,
}

const PLAIN: Subject = Subject { name: "plain", dependency: "", attribute: "" };

const SUBJECTS: [Subject; 3] = [
    Subject {
        name: "ours",
        dependency: concat!(
            "cached-runtime = { path = '",
            env!("CARGO_MANIFEST_DIR"),
            "/../cached-runtime' }"
        ),
        attribute: "#[cached_runtime::cached(timeout = 300, capacity = 1000)]",
    },
    Subject {
        name: "cached",
        dependency: "cached = '=4.1.0'",
        attribute: "#[cached::macros::concurrent_cached(max_size = 1000, ttl_secs = 300)]",
    },
    PLAIN,
];

/// A folder of this run, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("cached-benches-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is in the folder for what may go.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The figures in the order of the cases.
fn sample(package: &Path, subject: Subject, effort: Effort) -> io::Result<Vec<f64>> {
    let program = source(subject.attribute, effort.functions);
    write_package(package, subject)?;
    let empty = clean_build(package, "dev")?;
    let all = if effort.twice {
        write_source(package, &program)?;
        Some(clean_build(package, effort.profile)?.seconds)
    } else {
        None
    };
    // What is newer than what was built from it is built anew, and nothing else.
    write_source(package, &program)?;
    let alone = build(package, effort.profile)?;
    if alone.crates != 1 {
        return Err(io::Error::other(format!("{} crates were built instead of one", alone.crates)));
    }
    let folder = if effort.profile == "dev" { "target/debug" } else { "target/release" };
    let bytes = fs::metadata(package.join(folder).join(NAME))?.len();
    let figures = [Some(empty.seconds), all, Some(alone.seconds), Some(f64::from(empty.crates - 1))];
    Ok(figures.into_iter().flatten().chain([bytes as f64]).collect())
}

const NAME: &str = "subject";

/// A package that does nothing, with the versions that this program was built with.
fn write_package(package: &Path, subject: Subject) -> io::Result<()> {
    fs::create_dir_all(package.join("src"))?;
    let manifest = format!(
        "[package]\nname = '{NAME}'\nversion = '0.1.0'\nedition = '2024'\n\n\
         [workspace]\n\n[dependencies]\n{}\n",
        subject.dependency
    );
    fs::write(package.join("Cargo.toml"), manifest)?;
    fs::write(package.join("Cargo.lock"), LOCK)?;
    write_source(package, "fn main() {}\n")?;
    // What is not here yet is fetched now, not while time is taken.
    cargo(package, &["fetch", "--offline"]).or_else(|_| cargo(package, &["fetch"])).map(drop)
}

fn write_source(package: &Path, source: &str) -> io::Result<()> {
    fs::write(package.join("src/main.rs"), source)
}

/// A program with so many functions of several kinds, all of which are called.
fn source(attribute: &str, functions: usize) -> String {
    let (mut source, mut main) = (String::new(), String::new());
    for number in 0..functions {
        let (signature, body, arguments) = match number % 4 {
            0 => ("(number: u64) -> u64", "number.wrapping_mul(NUMBER)", "number"),
            1 => ("(text: &str) -> String", "text.repeat(NUMBER)", "text"),
            2 => (
                "(number: u64, text: &str) -> Result<u64, std::num::ParseIntError>",
                "text.parse::<u64>().map(|parsed| parsed ^ number ^ NUMBER)",
                "number, text",
            ),
            _ => (
                "(number: u64) -> Option<String>",
                "number.checked_sub(NUMBER).map(|it| it.to_string())",
                "number",
            ),
        };
        let body = body.replace("NUMBER", &number.to_string());
        // Writing to a string does not fail.
        let _ = writeln!(source, "{attribute}\nfn f{number}{signature} {{\n    {body}\n}}\n");
        let _ = writeln!(main, "    let _ = std::hint::black_box(f{number}({arguments}));");
    }
    let arguments = "let text = std::env::args().next().unwrap_or_default();\n    \
        let (number, text) = (text.len() as u64, text.as_str());";
    format!("{source}fn main() {{\n    {arguments}\n{main}}}\n")
}

struct Built {
    seconds: f64,
    /// Those that were not there, the package itself among them.
    crates: u32,
}

fn clean_build(package: &Path, profile: &str) -> io::Result<Built> {
    let target = package.join("target");
    if target.exists() {
        fs::remove_dir_all(target)?;
    }
    build(package, profile)
}

fn build(package: &Path, profile: &str) -> io::Result<Built> {
    let start = Instant::now();
    let messages = cargo(package, &["build", "--offline", "--profile", profile, "--target-dir", "target"])?;
    Ok(Built { seconds: start.elapsed().as_secs_f64(), crates: compiled(&messages) })
}

/// How many crates cargo says that it has compiled.
fn compiled(messages: &str) -> u32 {
    messages.lines().map(|line| u32::from(line.trim_start().starts_with("Compiling "))).sum()
}

/// What cargo says, if it succeeds.
fn cargo(package: &Path, arguments: &[&str]) -> io::Result<String> {
    let output = Command::new(machine::cargo())
        .args(arguments)
        .current_dir(package)
        .env("CARGO_TERM_COLOR", "never")
        .env("CARGO_TERM_QUIET", "false")
        .output()?;
    let messages = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(messages) } else { Err(io::Error::other(messages)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_are_counted_by_what_cargo_says() {
        let messages = "   Compiling libc v0.2.1\n   Compiling subject v0.1.0 (/tmp/a)\n    \
            Finished `dev` profile [unoptimized + debuginfo] target(s) in 1.00s\n";
        assert_eq!(compiled(messages), 2);
    }

    #[test]
    fn each_function_is_annotated_and_called() {
        let source = source("#[cached]", 6);
        assert_eq!(source.matches("#[cached]\nfn f").count(), 6);
        assert!((0..6).all(|number| source.contains(&format!("black_box(f{number}("))));
        assert!(source.contains("fn f5(text: &str) -> String {\n    text.repeat(5)\n}"), "{source}");
    }

    #[test]
    fn the_folder_goes_with_its_owner() {
        let folder = Folder::new().expect("it can be made");
        let path = folder.0.clone();
        assert!(path.is_dir());
        drop(folder);
        assert!(!path.exists());
    }
}
