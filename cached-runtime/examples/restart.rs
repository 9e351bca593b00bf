//! Answers at once, also after a restart, what it has answered before.
//!
//! ```sh
//! cargo run -p cached-runtime --features backend --example restart -- answers.cache 2025 2026
//! ```

use std::env;
use std::error::Error;
use std::io::ErrorKind;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use cached_runtime::{cached, store};

#[cached(timeout = "1h", save)]
fn days(year: u32) -> u32 {
    println!("{year} is computed");
    thread::sleep(Duration::from_millis(300));
    if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) { 366 } else { 365 }
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let Some(path) = arguments.next() else {
        eprintln!("usage: restart FILE YEAR...");
        return Ok(ExitCode::from(2));
    };
    match store().load(&path) {
        Ok(loaded) => println!("{} entries were loaded", loaded.entries + loaded.waiting),
        Err(error) if error.kind() == ErrorKind::NotFound => println!("this is the first time"),
        Err(error) => println!("{path} is of no use: {error}"),
    }
    for year in arguments {
        let year = year.parse()?;
        println!("{year} has {} days", days(year));
    }
    let saved = store().save(&path)?;
    println!("{} entries were saved", saved.entries);
    Ok(ExitCode::SUCCESS)
}
