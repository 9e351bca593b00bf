//! What the kernel says of the time that threads had: on Linux, if it keeps `schedstat`.

use std::path::Path;
use std::time::Duration;
use std::{fs, io, thread};

/// The processor time of all threads that there are.
pub(crate) fn used() -> io::Result<Duration> {
    let threads = fs::read_dir("/proc/self/task")?;
    // One that ends meanwhile used nothing.
    let used = threads.filter_map(|thread| Some(stat(&thread.ok()?.path())?.used));
    Ok(used.sum())
}

/// Waits until the threads of this process have next to nothing to do, if that can be told.
pub(crate) fn wait_for_quiet() {
    const LOOK: Duration = Duration::from_millis(100);
    let mut before = used();
    loop {
        thread::sleep(LOOK);
        let now = used();
        match (before, &now) {
            (Ok(before), Ok(now)) if now.saturating_sub(before) > LOOK / 20 => {}
            _ => return,
        }
        before = now;
    }
}

/// How long this thread could have run and had no core.
pub(crate) fn waited() -> Duration {
    stat(Path::new("/proc/thread-self")).map_or(Duration::ZERO, |stat| stat.waited)
}

struct Stat {
    used: Duration,
    waited: Duration,
}

fn stat(thread: &Path) -> Option<Stat> {
    parse(&fs::read_to_string(thread.join("schedstat")).ok()?)
}

/// Nanoseconds of both, and how often it ran.
fn parse(text: &str) -> Option<Stat> {
    let mut spans = text.split_whitespace().map_while(|number| number.parse().ok()).map(Duration::from_nanos);
    Some(Stat { used: spans.next()?, waited: spans.next()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_nanoseconds() {
        let stat = parse("12 34 5\n").expect("it is right");
        assert_eq!((stat.used, stat.waited), (Duration::from_nanos(12), Duration::from_nanos(34)));
        assert!(parse("").is_none() && parse("12").is_none());
    }
}
