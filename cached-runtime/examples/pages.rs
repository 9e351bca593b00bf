//! Renders every Markdown file of a folder to HTML, twice, and shows what the second time costs:
//!
//! ```sh
//! cargo run --release -p cached-runtime --example pages -- FOLDER
//! ```

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use std::{env, fs};

use cached_runtime::{cached, store};
use indicatif::ProgressBar;
use pulldown_cmark::{Options, Parser, html};
use walkdir::WalkDir;

/// The one line that matters. A file that is written to has another time of modification, thus another
/// key; an error is returned and not stored, so that the next call tries again.
#[cached(timeout = "5m", capacity = 10_000)]
fn render(path: &Path, _modified: SystemTime) -> Result<Arc<str>, Arc<io::Error>> {
    let markdown = fs::read(path)?;
    let mut page = String::new();
    html::push_html(&mut page, Parser::new_ext(&String::from_utf8_lossy(&markdown), Options::all()));
    Ok(page.into())
}

/// The page, and how long it took to get it.
fn timed(path: &Path) -> Result<(Arc<str>, Duration), Arc<io::Error>> {
    let modified = fs::metadata(path)?.modified()?;
    let start = Instant::now();
    let page = render(path, modified)?;
    Ok((page, start.elapsed()))
}

fn pages(folder: &Path) -> Result<Vec<PathBuf>, walkdir::Error> {
    let is_page = |path: &PathBuf| path.extension().is_some_and(|it| it == "md") && path.is_file();
    let paths = WalkDir::new(folder).sort_by_file_name().into_iter();
    paths
        .map(|entry| entry.map(walkdir::DirEntry::into_path))
        .filter(|it| it.as_ref().map_or(true, is_page))
        .collect()
}

fn run(folder: &Path, out: &mut impl Write) -> io::Result<()> {
    let pages = pages(folder)?;
    if pages.is_empty() {
        return writeln!(out, "no Markdown files in {}", folder.display());
    }
    let bar = ProgressBar::new(2 * pages.len() as u64);
    let round = || pages.iter().map(|path| timed(path).inspect(|_| bar.inc(1))).collect::<Vec<_>>();
    let (first, second) = (round(), round());
    bar.finish_and_clear();

    let width = pages.iter().map(|path| path.display().to_string().chars().count()).max().unwrap_or(0).max(4);
    writeln!(out, "{:width$}  {:>10}  {:>11}  {:>8}", "page", "first call", "second call", "speed-up")?;
    for (path, calls) in pages.iter().zip(first.into_iter().zip(second)) {
        let path = path.display().to_string();
        match calls {
            (Ok((_, first)), Ok((_, second))) => {
                let times = first.as_secs_f64() / second.as_secs_f64().max(1e-9);
                let (first, second) = (format!("{first:.1?}"), format!("{second:.1?}"));
                writeln!(out, "{path:width$}  {first:>10}  {second:>11}  {times:>7.0}×")?;
            }
            (Err(error), _) | (_, Err(error)) => writeln!(out, "{path:width$}  {error}")?,
        }
    }
    writeln!(out, "\n{}", store().report())
}

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let (Some(folder), None) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: pages FOLDER");
        return ExitCode::from(2);
    };
    match run(folder.as_ref(), &mut io::stdout().lock()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("pages: {error}");
            ExitCode::from(2)
        }
        _ => ExitCode::SUCCESS,
    }
}
