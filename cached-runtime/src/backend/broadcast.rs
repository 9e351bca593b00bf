//! What processes tell each other, through an engine that carries messages: which keys they have changed, so that
//! copies of them go.
//!
//! A message is who tells, and the name of a key: that of an entry, or that of a generation, of a function or a tag,
//! for all that depends on it. Nobody waits for it or acknowledges it. While messages may be missed nothing is believed of copies from
//! before: they go when the connection is lost, and again when it is made.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;

use super::driver::{Driver, DriverError};
use super::generation::random;
use super::link::Link;
use super::name::{self, Named};
use crate::function::State;
#[cfg(feature = "testing")]
use crate::store::Inner;
use crate::store::janitor;
use crate::tag;

/// Before it is listened again at first; each time that fails, twice as long, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// An engine that carries messages. As a driver it tells of each key that it changes whatever is there, and of
/// each that it changes on a condition.
pub(crate) trait Carrier: Driver {
    /// Hears what is told, until it cannot any more.
    fn listen(&self, hear: &mut dyn FnMut(Heard<'_>)) -> DriverError;
}

/// What is heard.
pub(crate) enum Heard<'a> {
    /// From now on, all that is told.
    Connected,
    Message(&'a [u8]),
}

/// Who tells, and where.
#[derive(Clone)]
pub(crate) struct Voice {
    pub(crate) channel: String,
    number: u128,
}

impl Voice {
    pub(crate) fn new(prefix: &str) -> Self {
        Self { channel: format!("{prefix}:broadcast"), number: random() }
    }

    /// That a key was changed.
    pub(crate) fn message(&self, key: &str) -> String {
        format!("{:032x} {key}", self.id())
    }

    /// A process that was forked from another one has the same number.
    fn id(&self) -> u128 {
        self.number ^ u128::from(process::id())
    }

    /// The key that others say they have changed, with its stem; nothing if it is no message of others.
    fn heard<'a>(&self, message: &'a [u8]) -> Option<(&'a str, &'a str, Named)> {
        let (id, key) = str::from_utf8(message).ok()?.split_once(' ')?;
        let is_own = u128::from_str_radix(id, 16).ok()? == self.id();
        let (stem, named) = name::read(key)?;
        (!is_own).then_some((key, stem, named))
    }
}

/// Those who are told, in this process.
pub(crate) struct Broadcast {
    voice: Voice,
    carrier: Arc<dyn Carrier>,
    driver: Arc<dyn Driver>,
    /// The functions of which there are copies, by stem.
    functions: Mutex<HashMap<String, Vec<&'static State>>>,
    has_begun: AtomicBool,
    is_listening: AtomicBool,
}

impl Broadcast {
    pub(crate) fn new(carrier: Arc<dyn Carrier>, voice: Voice) -> Self {
        let driver = Arc::clone(&carrier) as Arc<dyn Driver>;
        let (has_begun, is_listening) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { voice, carrier, driver, functions: Mutex::default(), has_begun, is_listening }
    }

    /// The driver that tells of what it changes.
    pub(crate) fn driver(&self) -> &Arc<dyn Driver> {
        &self.driver
    }

    pub(crate) fn add(&self, stem: &str, state: &'static State) {
        self.functions.lock().entry(stem.to_owned()).or_default().push(state);
    }

    #[cfg(feature = "testing")]
    pub(crate) fn forget(&self, store: &'static Inner) {
        self.functions.lock().values_mut().for_each(|states| {
            states.retain(|state| !std::ptr::eq(state.store, store));
        });
    }

    /// Whether it is now that listening is to begin.
    pub(crate) fn begins(&self) -> bool {
        !self.has_begun.swap(true, AcqRel)
    }

    /// Whether what others change is heard, once that is wanted.
    pub(crate) fn is_listening(&self) -> Option<bool> {
        self.has_begun.load(Acquire).then(|| self.is_listening.load(Acquire))
    }

    /// Listens for ever.
    pub(crate) fn listen(&self, link: &Link) {
        let mut pauses = Pauses::default();
        let mut is_told_lost = false;
        loop {
            let mut hear = |heard: Heard<'_>| match heard {
                Heard::Connected => {
                    self.drop_copies();
                    self.is_listening.store(true, Release);
                    pauses = Pauses::default();
                    if std::mem::take(&mut is_told_lost) {
                        link.hears_again();
                    }
                }
                Heard::Message(message) => self.hear(message),
            };
            let ended = catch_unwind(AssertUnwindSafe(|| self.carrier.listen(&mut hear)));
            let error = ended.unwrap_or_else(|_| DriverError::Failed("listening panicked".into()));
            // Copies of a time when nothing was heard are not what was missed.
            if self.is_listening.swap(false, AcqRel) {
                self.drop_copies();
            }
            if !std::mem::replace(&mut is_told_lost, true) {
                link.does_not_hear(&error);
            }
            thread::sleep(pauses.next());
        }
    }

    fn hear(&self, message: &[u8]) {
        let Some((key, stem, named)) = self.voice.heard(message) else { return };
        let of_one = || self.functions.lock().get(stem).cloned().unwrap_or_default();
        match named {
            Named::Entry => of_one().iter().for_each(|state| tag::invalidate(state.store, key)),
            Named::Generation => drop_copies(&of_one()),
            Named::Tag(tag) => {
                for state in self.functions.lock().values().flatten().filter(|state| state.hears(tag)) {
                    tag::invalidate_known(state.store, tag);
                }
            }
            Named::AllTags => self.drop_copies(),
        }
    }

    fn drop_copies(&self) {
        let states: Vec<_> = self.functions.lock().values().flatten().copied().collect();
        drop_copies(&states);
    }
}

fn drop_copies(states: &[&'static State]) {
    for state in states {
        // What is dropped may panic.
        let _ = catch_unwind(AssertUnwindSafe(|| state.drop_copies()));
    }
    let _ = catch_unwind(janitor::free_all);
}

/// How long to wait before listening is tried again.
struct Pauses(Duration);

impl Default for Pauses {
    fn default() -> Self {
        Self(FIRST_PAUSE)
    }
}

impl Pauses {
    fn next(&mut self) -> Duration {
        let next = (self.0 * 2).min(LONGEST_PAUSE);
        std::mem::replace(&mut self.0, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_others_names_a_key() {
        let (own, other) = (Voice::new("cached"), Voice::new("cached"));
        let stem = name::stem("cached", "shop::item", 1);
        let (entry, generation) = (name::of_entry(&stem, b"key"), name::of_generation(&stem));
        for (key, named) in [(&entry, Named::Entry), (&generation, Named::Generation)] {
            let message = other.message(key);
            assert_eq!(own.heard(message.as_bytes()), Some((&**key, &*stem, named)));
            assert_eq!(other.heard(message.as_bytes()), None, "it is one's own");
        }
    }

    #[test]
    fn what_is_no_message_is_not_heard() {
        let (own, other) = (Voice::new("cached"), Voice::new("cached"));
        let stem = name::stem("cached", "f", 0);
        let key = name::of_entry(&stem, b"key");
        let sound = other.message(&key);
        for message in [
            &b""[..],
            b" ",
            b"\xff\xfe",
            b"0123",
            key.as_bytes(),
            format!(" {key}").as_bytes(),
            format!("x {key}").as_bytes(),
            format!("{}{key}", "f".repeat(33)).as_bytes(),
            format!("{sound}0").as_bytes(),
            format!("{sound} ").as_bytes(),
            &sound.as_bytes()[..sound.len() - 1],
            other.message(&stem).as_bytes(),
            other.message("generation").as_bytes(),
            other.message("cached:f:v0:GENERATION").as_bytes(),
            "a".repeat(100_000).as_bytes(),
        ] {
            assert_eq!(own.heard(message), None, "{:?}", String::from_utf8_lossy(message));
        }
        assert!(own.heard(sound.as_bytes()).is_some());
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let mut pauses = Pauses::default();
        let seconds: Vec<_> = (0..7).map(|_| pauses.next().as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 30, 30]);
    }
}
