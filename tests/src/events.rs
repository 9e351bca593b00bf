//! The events of backends, as this process has heard of them.

use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use cached_runtime::{Event, on_event};

static HEARD: Mutex<Vec<Event>> = Mutex::new(Vec::new());
static REACTIONS: Mutex<Vec<(String, fn())>> = Mutex::new(Vec::new());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes all events from now on.
pub fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| on_event(hear));
}

fn hear(event: &Event) {
    lock(&HEARD).push(event.clone());
    let text = event.to_string();
    let reactions: Vec<fn()> =
        lock(&REACTIONS).iter().filter(|(about, _)| text.contains(about)).map(|(_, react)| *react).collect();
    reactions.into_iter().for_each(|react| react());
}

/// Does this at each event whose text has `about` in it.
pub fn react(about: &str, reaction: fn()) {
    listen();
    lock(&REACTIONS).push((about.to_owned(), reaction));
}

/// The events so far whose text has `about` in it.
#[must_use]
pub fn heard(about: &str) -> Vec<Event> {
    lock(&HEARD).iter().filter(|event| event.to_string().contains(about)).cloned().collect()
}
