//! `compare`: cached-runtime measured against its peers. Here the command line; each bench is a file.

#![expect(clippy::cast_precision_loss, reason = "figures are rounded anyway")]

mod build;
mod caches;
mod expiry;
mod growth;
mod histogram;
mod hit;
mod hit_ratio;
mod machine;
mod measure;
mod memory;
mod miss;
mod plot;
mod random;
mod replay;
mod report;
mod traces;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use report::Findings;

/// How a bench is run and what it found is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Options {
    /// One JSON line a case instead of tables.
    json: bool,
    /// Short and rough.
    quick: bool,
    /// Without the line about the machine.
    brief: bool,
    /// The folder for drawings.
    plot: Option<PathBuf>,
}

/// A subcommand.
struct Bench {
    name: &'static str,
    about: &'static str,
    /// Takes whether it is to be quick.
    run: fn(bool) -> io::Result<Findings>,
    /// Whether that makes it a matter of seconds.
    can_be_quick: bool,
}

impl Bench {
    const fn new(name: &'static str, about: &'static str, run: fn(bool) -> io::Result<Findings>) -> Self {
        Self { name, about, run, can_be_quick: true }
    }
}

const BENCHES: &[Bench] = &[
    Bench::new("hit", "a call whose value is there", hit::run),
    Bench::new("miss", "a call that computes, stores and evicts", miss::run),
    Bench::new("memory", "what an entry takes", memory::run),
    Bench::new("hit-ratio", "how often the right entries were kept", hit_ratio::run),
    Bench::new("expiry", "how soon expired entries are freed, and what that costs", expiry::run),
    Bench::new("growth", "an insert into a cache that grows", growth::run),
    Bench { can_be_quick: false, ..Bench::new("build", "what annotated functions cost a build", build::run) },
];

/// What the command line asks for.
enum Request {
    Help,
    One(&'static Bench, Options),
    All(Options),
}

/// Reads the arguments; fails with what is wrong with them.
fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Request, String> {
    let mut name = None;
    let mut options = Options::default();
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--help" | "-h" => return Ok(Request::Help),
            "--json" => options.json = true,
            "--quick" => options.quick = true,
            "--brief" => options.brief = true,
            "--plot" => {
                let folder = arguments.next().filter(|folder| !folder.starts_with('-'));
                options.plot = Some(folder.ok_or("`--plot` needs a folder")?.into());
            }
            flag if flag.starts_with('-') => return Err(format!("unknown flag `{flag}`")),
            _ if name.is_none() => name = Some(argument),
            extra => return Err(format!("one bench at a time: unexpected `{extra}`")),
        }
    }
    match name.as_deref() {
        Some("all") => Ok(Request::All(options)),
        Some(name) => Ok(Request::One(named(name)?, options)),
        None => Err("no bench is named".to_owned()),
    }
}

fn named(name: &str) -> Result<&'static Bench, String> {
    BENCHES.iter().find(|bench| bench.name == name).ok_or_else(|| format!("unknown bench `{name}`"))
}

fn usage() -> String {
    let mut text = "usage: compare BENCH [OPTION]...\n\nbenches:\n".to_owned();
    for Bench { name, about, .. } in BENCHES {
        // Writing to a string does not fail.
        let _ = writeln!(text, "  {name:<10}  {about}");
    }
    text + "  all         each of them; with --quick, those that can be\n\n\
        options:\n  \
        --json      one JSON line a case\n  \
        --quick     short and rough\n  \
        --plot DIR  draw the figures too, as SVG files\n  \
        --brief     without the line about the machine"
}

fn run(bench: &Bench, options: &Options, out: &mut dyn Write) -> io::Result<()> {
    introduce(options, out)?;
    let findings = (bench.run)(options.quick)?;
    if let Some(folder) = &options.plot {
        plot::draw(bench.name, bench.about, &findings.rows, folder)?;
    }
    if options.json {
        report::print_json(bench.name, &findings, out)
    } else {
        report::print_tables(bench.name, &findings, out)
    }
}

/// Runs each in a process of its own, so that none meets what another has left in memory.
fn run_all(options: &Options, out: &mut dyn Write) -> io::Result<()> {
    introduce(options, out)?;
    let mut failed = Vec::new();
    for bench in BENCHES.iter().filter(|bench| bench.can_be_quick || !options.quick) {
        let status = Command::new(std::env::current_exe()?).args(arguments(bench, options)).status()?;
        if !status.success() {
            failed.push(bench.name);
        }
        if !options.json {
            writeln!(out)?;
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(io::Error::other(format!("failed: {}", failed.join(", ")))) }
}

fn introduce(options: &Options, out: &mut dyn Write) -> io::Result<()> {
    if options.json || options.brief {
        return Ok(());
    }
    let packages = ["cached-runtime", "cached", "moka", "quick_cache"];
    writeln!(out, "{}\n", machine::environment(&packages))
}

/// For one bench of all.
fn arguments(bench: &Bench, options: &Options) -> Vec<OsString> {
    let flags = [(options.json, "--json"), (options.quick, "--quick"), (true, "--brief")];
    let flags = flags.into_iter().filter_map(|(given, flag)| given.then_some(flag.into()));
    let plot = options.plot.iter().flat_map(|folder| ["--plot".into(), folder.into()]);
    [bench.name.into()].into_iter().chain(flags).chain(plot).collect()
}

fn main() -> ExitCode {
    let arguments = std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned());
    let mut out = io::stdout();
    let done = match parse(arguments) {
        Ok(Request::Help) => writeln!(out, "{}", usage()),
        Ok(Request::One(bench, options)) => run(bench, &options, &mut out),
        Ok(Request::All(options)) => run_all(&options, &mut out),
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
            Request::One(bench, options) => Ok((bench.name, options)),
            Request::All(options) => Ok(("all", options)),
        }
    }

    #[test]
    fn a_bench_and_its_flags_are_read_in_any_order() {
        let both = Options { json: true, quick: true, ..Options::default() };
        let plot = Options { plot: Some("a/b".into()), brief: true, ..Options::default() };
        assert_eq!(parsed("hit"), Ok(("hit", Options::default())));
        assert_eq!(parsed("hit-ratio --quick --json"), Ok(("hit-ratio", both.clone())));
        assert_eq!(parsed("--json all --quick"), Ok(("all", both)));
        assert_eq!(parsed("--plot a/b all --brief"), Ok(("all", plot)));
        assert_eq!(parsed("hit --help"), Ok(("help", Options::default())));
    }

    #[test]
    fn what_is_not_known_is_named() {
        for (line, expected) in [
            ("", "no bench is named"),
            ("--json", "no bench is named"),
            ("hits", "unknown bench `hits`"),
            ("hit --fast", "unknown flag `--fast`"),
            ("hit miss", "one bench at a time: unexpected `miss`"),
            ("hit --plot", "`--plot` needs a folder"),
            ("hit --plot --json", "`--plot` needs a folder"),
        ] {
            assert_eq!(parsed(line), Err(expected.to_owned()), "{line}");
        }
    }

    #[test]
    fn each_of_all_gets_the_same_options_and_is_brief() {
        for line in ["all", "all --quick", "all --json --plot a/b"] {
            let (_, options) = parsed(line).expect("it is right");
            for bench in BENCHES {
                let arguments = arguments(bench, &options).into_iter();
                let line: Vec<_> = arguments.map(|it| it.to_string_lossy().into_owned()).collect();
                let expected = Options { brief: true, ..options.clone() };
                assert_eq!(parsed(&line.join(" ")), Ok((bench.name, expected)));
            }
        }
    }

    #[test]
    fn usage_names_every_bench() {
        assert!(BENCHES.iter().all(|bench| usage().contains(bench.name)));
    }
}
