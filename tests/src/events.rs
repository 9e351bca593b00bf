//! The events of backends, as this process has heard of them.

use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use cached_runtime::{Event, on_event};

static HEARD: Mutex<Vec<Event>> = Mutex::new(Vec::new());
static REACTIONS: Mutex<Vec<Reaction>> = Mutex::new(Vec::new());

/// What is done at each event whose text has this in it.
struct Reaction {
    about: String,
    act: fn(),
}

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
    let acts: Vec<fn()> =
        lock(&REACTIONS).iter().filter(|it| text.contains(&it.about)).map(|it| it.act).collect();
    for act in acts {
        act();
    }
}

/// Does this at each event whose text has `about` in it.
pub fn react(about: &str, act: fn()) {
    listen();
    lock(&REACTIONS).push(Reaction { about: about.to_owned(), act });
}

/// The events so far whose text has `about` in it.
#[must_use]
pub fn heard(about: &str) -> Vec<Event> {
    lock(&HEARD).iter().filter(|event| event.to_string().contains(about)).cloned().collect()
}
