//! Other programs: whether they are there, and a bench in a process of its own.

use std::ffi::OsString;
use std::process::{Command, Stdio};
use std::{env, io};

use crate::report::Row;

/// Those of the programs that nobody would find who starts them by name.
pub(crate) fn missing(programs: &[&'static str]) -> Vec<&'static str> {
    let path = env::var_os("PATH").unwrap_or_default();
    let is_there = |program: &&&str| env::split_paths(&path).any(|folder| folder.join(program).is_file());
    programs.iter().filter(|program| !is_there(program)).copied().collect()
}

/// What a bench finds in another process, with these environment variables.
pub(crate) fn rows_of(bench: &str, quick: bool, variables: &[(&str, String)]) -> io::Result<Vec<Row>> {
    let mut command = Command::new(env::current_exe()?);
    command.args(arguments(bench, quick)).envs(variables.iter().map(|(name, value)| (name, value)));
    let output = command.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(io::Error::other(format!("{bench} failed")));
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().filter_map(Row::parse).collect())
}

pub(crate) fn arguments(bench: &str, quick: bool) -> Vec<OsString> {
    let quick = quick.then_some("--quick");
    [bench, "--json", "--brief"].into_iter().chain(quick).map(OsString::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_no_folder_of_the_path_is_missing() {
        assert_eq!(missing(&["sh", "no-such-program", "ls"]), ["no-such-program"]);
    }
}
