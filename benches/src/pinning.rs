//! One CPU for this process and all that it starts: a round trip between two programs on two CPUs takes as long
//! as it takes to wake the other one up, which differs from minute to minute.

use std::process::{self, Command};

pub(crate) const PROGRAM: &str = "taskset";

/// From now on, for this thread and the processes that it starts. Fails with the reason, for instance that the
/// system has no such program.
pub(crate) fn stay_on_one_cpu() -> Result<(), String> {
    let process = process::id().to_string();
    let allowed = taskset(&["-cp", &process])?;
    let cpu = first(&allowed).ok_or("it names no CPU")?;
    taskset(&["-cp", cpu, &process]).map(drop)
}

fn taskset(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(PROGRAM).args(arguments).env("LC_ALL", "C").output();
    let output = output.map_err(|error| format!("{PROGRAM}: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}

/// The first of the CPUs that are listed at the end, as in `pid 7's current affinity list: 0-3,8`.
fn first(answer: &str) -> Option<&str> {
    let (_, list) = answer.rsplit_once(':')?;
    list.trim().split(|character: char| !character.is_ascii_digit()).next().filter(|cpu| !cpu.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_cpu_is_the_one_that_the_list_begins_with() {
        for (list, expected) in [("0,1", Some("0")), ("12-15,20", Some("12")), ("3\n", Some("3")), ("", None)]
        {
            assert_eq!(first(&format!("pid 7's current affinity list: {list}")), expected);
        }
        assert_eq!(first("nothing"), None);
    }
}
