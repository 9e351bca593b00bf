//! The thread that removes expired rows when nobody writes, and writes the log into the file.

use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::engine::Engine;

/// It looks no more often, and no less often, than this. Other processes may store rows of any lifetime, and
/// look after them likewise.
pub(super) const SOONEST: Duration = Duration::from_secs(1);
pub(super) const LATEST: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    rings: Condvar,
}

/// Ends the thread when it is dropped.
#[derive(Default)]
pub(super) struct Keeper {
    bell: Arc<Bell>,
    started: Mutex<bool>,
}

impl Keeper {
    /// Where no thread can be had, expired rows go when others are stored.
    pub(super) fn start(&self, engine: &Arc<Engine>) {
        let mut started = self.started.lock();
        if !*started {
            let (engine, bell) = (Arc::downgrade(engine), Arc::clone(&self.bell));
            let thread = thread::Builder::new().name("cached-sqlite".to_owned());
            *started = thread.spawn(move || work(&engine, &bell)).is_ok();
        }
    }

    /// Makes it look at once.
    pub(super) fn call(&self) {
        *self.bell.rung.lock() = true;
        self.bell.rings.notify_one();
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.call();
    }
}

fn work(engine: &Weak<Engine>, bell: &Bell) {
    while let Some(engine) = engine.upgrade() {
        let wait = engine.tidy();
        engine.tell();
        drop(engine);
        let mut rung = bell.rung.lock();
        if !*rung {
            bell.rings.wait_for(&mut rung, wait);
        }
        *rung = false;
    }
}
