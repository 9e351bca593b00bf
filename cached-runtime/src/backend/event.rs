//! What happens to backends and ought to be known: to the log, by the feature `tracing`, and to a hook.

use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;

use crate::report::one_line;

/// Something that happened to a backend. As text, in one line without control characters, and never with a
/// password.
///
/// A backend is named as in [`backends`](crate::backends).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// An operation failed or timed out. Not told of those that were begun before [`Opened`](Self::Opened)
    /// and end after it.
    Failed {
        /// Which backend.
        backend: String,
        /// What the engine, or the system, says.
        message: String,
    },
    /// Operations failed several times in a row: the backend is not asked for a while, then by one operation.
    /// Told once, until it is asked again by all.
    Opened {
        /// Which backend.
        backend: String,
        /// For how long it is not asked at first.
        wait: Duration,
        /// What the last of the failures was.
        message: String,
    },
    /// One operation tries whether the backend is there again.
    Probing {
        /// Which backend.
        backend: String,
    },
    /// The backend has answered, and is asked again by all.
    Closed {
        /// Which backend.
        backend: String,
    },
    /// The backend cannot be asked at all, as its URL is wrong. Told once.
    Unusable {
        /// Which backend.
        backend: String,
        /// What is wrong.
        message: String,
    },
    /// The engine compares no versions, so that `lease` has no effect and late writes are not fenced between
    /// processes. Told once; of `null://`, which stores nothing, if a function has a `lease`.
    NoLeases {
        /// Which backend.
        backend: String,
    },
    /// It is not heard what other processes change: copies of that stay for their `local_timeout`. Those from
    /// before went. Told once, until it is heard again.
    BroadcastLost {
        /// Which backend.
        backend: String,
        /// What went wrong.
        message: String,
    },
    /// It is heard again.
    BroadcastBack {
        /// Which backend.
        backend: String,
    },
    /// A value was larger than the engine can hold.
    TooLarge {
        /// Which backend.
        backend: String,
        /// Whose value.
        function: String,
    },
    /// What was found under a key could not be read as a value of it.
    Undecodable {
        /// Which backend.
        backend: String,
        /// Whose key.
        function: String,
    },
    /// A value, or a key, could not be written so that it would come back as it is.
    Unencodable {
        /// Which backend.
        backend: String,
        /// Whose value.
        function: String,
    },
    /// A file that was damaged, or another program's, was renamed, and a new one begun in its place.
    FileSetAside {
        /// Where it was.
        file: PathBuf,
        /// Where it is now.
        to: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// One of several servers does not answer: others are asked for its keys.
    ServerDown {
        /// Its address.
        server: String,
        /// What happened last.
        message: String,
    },
    /// It answers again.
    ServerUp {
        /// Its address.
        server: String,
    },
    /// The list of servers was found to be another than before.
    ServersChanged {
        /// Those that there are now.
        servers: Vec<String>,
    },
    /// The list of servers cannot be had; the last one stays. Told once, until it is had again.
    ServersUnknown {
        /// What went wrong.
        message: String,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Failed { backend, message } => format!("an operation of {backend} failed: {message}"),
            Self::Opened { backend, wait, message } => {
                format!("{backend} is not asked for {wait:?}, as it failed several times in a row: {message}")
            }
            Self::Probing { backend } => format!("one operation tries whether {backend} is there again"),
            Self::Closed { backend } => format!("{backend} is there again"),
            Self::Unusable { backend, message } => format!("{backend} cannot be used: {message}"),
            Self::NoLeases { backend } => {
                format!("{backend} compares no versions: leases have no effect, late writes are not fenced")
            }
            Self::BroadcastLost { backend, message } => {
                format!("it is not heard through {backend} what others change; copies stay: {message}")
            }
            Self::BroadcastBack { backend } => {
                format!("it is heard again through {backend} what others change")
            }
            Self::TooLarge { backend, function } => {
                format!("a value of {function} is too large for {backend}, and is not stored there")
            }
            Self::Undecodable { backend, function } => {
                format!("an entry of {function} in {backend} cannot be read, and counts as absent")
            }
            Self::Unencodable { backend, function } => {
                format!("a key or value of {function} has no encoding, and is not stored in {backend}")
            }
            Self::FileSetAside { file, to, message } => {
                format!("{} is begun anew; it was set aside as {}: {message}", file.display(), to.display())
            }
            Self::ServerDown { server, message } => format!("the server {server} is down: {message}"),
            Self::ServerUp { server } => format!("the server {server} is up again"),
            Self::ServersChanged { servers } => format!("the servers are now {}", servers.join(", ")),
            Self::ServersUnknown { message } => format!("the list of servers cannot be had: {message}"),
        };
        f.write_str(&one_line(&text))
    }
}

type Hook = Arc<dyn Fn(&Event) + Send + Sync>;

static HOOK: RwLock<Option<Hook>> = RwLock::new(None);

/// From now on the hook is called with each event of every backend, in the thread where it happens; whichever
/// was set before no longer is. It should be quick. Its panics harm nobody, and events of what it does by
/// itself are not told.
///
/// With the feature `tracing`, events are told to that as well, under the target `cached_runtime`.
///
/// ```
/// cached_runtime::on_event(|event| eprintln!("{event}"));
/// ```
pub fn on_event(hook: impl Fn(&Event) + Send + Sync + 'static) {
    let old = HOOK.write().replace(Arc::new(hook));
    // What it owns is dropped without the lock.
    drop(old);
}

/// Tells an event. Not to be called with a lock, as foreign code is called.
pub(crate) fn emit(event: &Event) {
    thread_local! {
        static IS_TELLING: Cell<bool> = const { Cell::new(false) };
    }
    // A thread that is ending tells nothing.
    if IS_TELLING.try_with(|it| it.replace(true)).unwrap_or(true) {
        return;
    }
    let _ = catch_unwind(AssertUnwindSafe(|| {
        trace(event);
        let hook = HOOK.read().clone();
        if let Some(hook) = hook {
            hook(event);
        }
    }));
    let _ = IS_TELLING.try_with(|it| it.set(false));
}

#[cfg(not(feature = "tracing"))]
fn trace(_: &Event) {}

#[cfg(feature = "tracing")]
fn trace(event: &Event) {
    match event {
        Event::Opened { .. }
        | Event::Unusable { .. }
        | Event::NoLeases { .. }
        | Event::BroadcastLost { .. }
        | Event::FileSetAside { .. }
        | Event::ServerDown { .. }
        | Event::ServersUnknown { .. } => tracing::warn!(target: "cached_runtime", "{event}"),
        Event::Closed { .. }
        | Event::BroadcastBack { .. }
        | Event::ServerUp { .. }
        | Event::ServersChanged { .. } => {
            tracing::info!(target: "cached_runtime", "{event}");
        }
        Event::Failed { .. }
        | Event::Probing { .. }
        | Event::TooLarge { .. }
        | Event::Undecodable { .. }
        | Event::Unencodable { .. } => tracing::debug!(target: "cached_runtime", "{event}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_stays_in_its_line() {
        let event = Event::Failed {
            backend: "redis://host".to_owned(),
            message: "it said 'no'\r\nERROR all is lost\u{1b}[2J\u{2028}\u{202e}".to_owned(),
        };
        assert_eq!(
            event.to_string(),
            "an operation of redis://host failed: \
             it said 'no'\\r\\nERROR all is lost\\u{1b}[2J\\u{2028}\\u{202e}"
        );
    }
}
