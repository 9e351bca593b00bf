//! The command line of `compare`; each bench is a file.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use crate::report::{self, Row};
use crate::{build, expiry, growth, hit, hit_ratio, machine, memory, miss, plot, processes, shared, targets};

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
    title: &'static str,
    /// The programs that it starts.
    needs: &'static [&'static str],
    /// What the figures are and how they come about; takes whether it is to be quick.
    about: fn(bool) -> String,
    /// Takes whether it is to be quick. Rows of one unit follow one another.
    run: fn(bool) -> io::Result<Vec<Row>>,
}

/// The bench in the module.
macro_rules! bench {
    ($module:ident, $name:literal, $title:literal) => {
        bench!($module, $name, $title, &[])
    };
    ($module:ident, $name:literal, $title:literal, $needs:expr) => {
        Bench { name: $name, title: $title, needs: $needs, about: $module::about, run: $module::run }
    };
}

const BENCHES: &[Bench] = &[
    bench!(hit, "hit", "a call whose value is there"),
    bench!(miss, "miss", "a call that computes, stores and evicts"),
    bench!(shared, "shared", "a call whose value is on a server", shared::SERVERS),
    bench!(memory, "memory", "what an entry takes"),
    bench!(hit_ratio, "hit-ratio", "how often the right entries were kept"),
    bench!(expiry, "expiry", "how soon expired entries are freed, and what that costs"),
    bench!(growth, "growth", "an insert into a cache that grows"),
    bench!(build, "build", "what annotated functions cost a build"),
];

impl Bench {
    /// The reason, where there is one.
    fn cannot_run(&self) -> Option<String> {
        let missing = processes::missing(self.needs);
        (!missing.is_empty())
            .then(|| format!("{} needs {}, not installed here", self.name, missing.join(", ")))
    }
}

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
    for Bench { name, title, .. } in BENCHES {
        // Writing to a string does not fail.
        let _ = writeln!(text, "  {name:<10}  {title}");
    }
    text + "  all         each of them\n\n\
        options:\n  \
        --json      one JSON line a case\n  \
        --quick     short and rough\n  \
        --plot DIR  draw the figures too, as SVG files\n  \
        --brief     without the line about the machine"
}

fn run_one(bench: &Bench, options: &Options, out: &mut dyn Write) -> io::Result<()> {
    if let Some(reason) = bench.cannot_run() {
        return Err(io::Error::other(reason));
    }
    introduce(options, out)?;
    let rows = (bench.run)(options.quick)?;
    show(bench, &rows, options, out)?;
    sum_up(&[(bench.name, rows)], options, out)
}

/// Runs each that can be run, in a process of its own, so that none meets what another has left in memory.
fn run_all(options: &Options, out: &mut dyn Write) -> io::Result<()> {
    introduce(options, out)?;
    let (mut found, mut failed) = (Vec::new(), Vec::new());
    for bench in BENCHES {
        if let Some(reason) = bench.cannot_run() {
            eprintln!("compare: left out: {reason}\n");
            continue;
        }
        match processes::rows_of(bench.name, options.quick, &[]) {
            Ok(rows) => {
                show(bench, &rows, options, out)?;
                found.push((bench.name, rows));
            }
            Err(error) => failed.push(error.to_string()),
        }
    }
    if let Some(folder) = &options.plot {
        plot::overview(&found, folder)?;
    }
    sum_up(&found, options, out)?;
    if failed.is_empty() { Ok(()) } else { Err(io::Error::other(failed.join("; "))) }
}

fn introduce(options: &Options, out: &mut dyn Write) -> io::Result<()> {
    if options.json || options.brief {
        return Ok(());
    }
    writeln!(out, "{}\n", machine::environment())
}

fn show(bench: &Bench, rows: &[Row], options: &Options, out: &mut dyn Write) -> io::Result<()> {
    if let Some(folder) = &options.plot {
        plot::draw(bench.name, bench.title, rows, folder)?;
    }
    if options.json {
        let environment = (!options.brief).then(machine::environment);
        for row in rows {
            writeln!(out, "{}", row.json(bench.name, environment.as_deref()))?;
        }
        return Ok(());
    }
    writeln!(out, "{}: {}\n\n{}", bench.name, (bench.about)(options.quick), report::tables(rows))
}

/// How far the targets were reached, for people alone.
fn sum_up(found: &[(&'static str, Vec<Row>)], options: &Options, out: &mut dyn Write) -> io::Result<()> {
    if options.json { Ok(()) } else { write!(out, "{}", targets::table(found)) }
}

/// Does what the command line asks for.
#[must_use]
pub fn compare() -> ExitCode {
    let arguments = std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned());
    let mut out = io::stdout();
    let done = match parse(arguments) {
        Ok(Request::Help) => writeln!(out, "{}", usage()),
        Ok(Request::One(bench, options)) => run_one(bench, &options, &mut out),
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
    fn each_of_all_says_what_can_be_read_again() {
        for (bench, quick) in BENCHES.iter().flat_map(|bench| [(bench, true), (bench, false)]) {
            let arguments = processes::arguments(bench.name, quick).into_iter();
            let line: Vec<_> = arguments.map(|it| it.to_string_lossy().into_owned()).collect();
            let expected = Options { json: true, brief: true, quick, plot: None };
            assert_eq!(parsed(&line.join(" ")), Ok((bench.name, expected)));
        }
    }

    #[test]
    fn what_a_bench_needs_and_is_not_there_is_named() {
        let bench = |needs| Bench { needs, ..bench!(hit, "hit", "a call") };
        assert_eq!(bench(&["sh"]).cannot_run(), None);
        let reason = bench(&["sh", "no-such-server"]).cannot_run();
        assert_eq!(reason.as_deref(), Some("hit needs no-such-server, not installed here"));
    }

    #[test]
    fn usage_names_every_bench() {
        assert!(BENCHES.iter().all(|bench| usage().contains(bench.name)));
    }
}
