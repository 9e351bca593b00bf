//! `compare`: see `compare --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    cached_benches::compare()
}
