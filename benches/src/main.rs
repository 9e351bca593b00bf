//! `compare`: cached-runtime measured against its peers. Here the command line; each bench is a file.

mod hit;
mod measure;
mod report;

use std::fmt::Write as _;
use std::io::{self, Write};
use std::process::ExitCode;

/// How a bench is run and its result printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Options {
    /// One JSON line a case instead of a table.
    json: bool,
    /// Short and rough.
    quick: bool,
}

/// A subcommand.
struct Bench {
    name: &'static str,
    about: &'static str,
    run: fn(Options, &mut dyn Write) -> io::Result<()>,
}

const BENCHES: &[Bench] = &[Bench { name: "hit", about: "nanoseconds per hit", run: hit::run }];

/// What the command line asks for.
enum Request {
    Help,
    Run(&'static Bench, Options),
}

/// Reads the arguments; fails with what is wrong with them.
fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Request, String> {
    let mut bench = None;
    let mut options = Options::default();
    for argument in arguments {
        match argument.as_str() {
            "--help" | "-h" => return Ok(Request::Help),
            "--json" => options.json = true,
            "--quick" => options.quick = true,
            flag if flag.starts_with('-') => return Err(format!("unknown flag `{flag}`")),
            name if bench.is_none() => bench = Some(named(name)?),
            extra => return Err(format!("one bench at a time: unexpected `{extra}`")),
        }
    }
    bench.map(|bench| Request::Run(bench, options)).ok_or_else(|| "no bench is named".to_owned())
}

fn named(name: &str) -> Result<&'static Bench, String> {
    BENCHES.iter().find(|bench| bench.name == name).ok_or_else(|| format!("unknown bench `{name}`"))
}

fn usage() -> String {
    let mut text = "usage: compare BENCH [--json] [--quick]\n\nbenches:\n".to_owned();
    for Bench { name, about, .. } in BENCHES {
        // Writing to a string does not fail.
        let _ = writeln!(text, "  {name:<10} {about}");
    }
    text + "\n  --json   one JSON line a case\n  --quick  short and rough"
}

fn main() -> ExitCode {
    let arguments = std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned());
    let mut out = io::stdout();
    let done = match parse(arguments) {
        Ok(Request::Help) => writeln!(out, "{}", usage()),
        Ok(Request::Run(bench, options)) => (bench.run)(options, &mut out),
        Err(message) => {
            eprintln!("compare: {message}\n\n{}", usage());
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compare: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bench and its options, or what is wrong.
    fn parsed(line: &str) -> Result<(&'static str, Options), String> {
        match parse(line.split_whitespace().map(str::to_owned))? {
            Request::Help => Ok(("help", Options::default())),
            Request::Run(bench, options) => Ok((bench.name, options)),
        }
    }

    #[test]
    fn a_bench_and_its_flags_are_read_in_any_order() {
        let both = Options { json: true, quick: true };
        assert_eq!(parsed("hit"), Ok(("hit", Options::default())));
        assert_eq!(parsed("hit --quick --json"), Ok(("hit", both)));
        assert_eq!(parsed("--json hit --quick"), Ok(("hit", both)));
        assert_eq!(parsed("hit --help"), Ok(("help", Options::default())));
    }

    #[test]
    fn what_is_not_known_is_named() {
        for (line, expected) in [
            ("", "no bench is named"),
            ("--json", "no bench is named"),
            ("hits", "unknown bench `hits`"),
            ("hit --fast", "unknown flag `--fast`"),
            ("hit hit", "one bench at a time: unexpected `hit`"),
        ] {
            assert_eq!(parsed(line), Err(expected.to_owned()), "{line}");
        }
    }

    #[test]
    fn usage_names_every_bench() {
        assert!(BENCHES.iter().all(|bench| usage().contains(bench.name)));
    }
}
