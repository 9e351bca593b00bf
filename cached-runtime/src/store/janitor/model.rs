//! A janitor, those who call it, and a table whose entries expire. Time does not pass: what is soon has come
//! when the janitor sleeps until then, and what is late never comes. So a janitor that sleeps through what it
//! should hear of sleeps for ever, which shuttle finds.

use std::sync::{Arc, Weak};

use shuttle::thread;

use super::*;
use crate::shim::{AtomicBool, explore};

/// What a table of the store does about its next expiry.
struct Entries {
    deadlines: Mutex<Vec<Moment>>,
    next_expiry: AtomicU64,
}

impl Entries {
    fn add(&self, janitor: &Janitor, deadline: Moment) {
        let mut deadlines = self.deadlines.lock();
        deadlines.push(deadline);
        self.expires_at(janitor, deadline);
    }

    fn expires_at(&self, janitor: &Janitor, moment: Moment) {
        if moment < self.next_expiry.load(SeqCst) && moment < self.next_expiry.fetch_min(moment, SeqCst) {
            janitor.schedule(moment);
        }
    }

    fn remove_expired(&self, janitor: &Janitor, now: Moment) {
        self.next_expiry.store(NEVER, SeqCst);
        let mut deadlines = self.deadlines.lock();
        deadlines.retain(|deadline| *deadline > now);
        if let Some(next) = deadlines.iter().min() {
            self.expires_at(janitor, *next);
        }
    }
}

fn after(seconds: u64) -> Moment {
    clock::now() + nanoseconds(Duration::from_secs(seconds))
}

#[test]
fn no_deadline_is_slept_through_in_whatever_order_they_come() {
    explore(|| {
        let (janitor, now, soon, late) = (Arc::new(Janitor::new()), after(0), after(1), after(86_400));
        // After what expires first, it sleeps until late, unless it hears of what is added meanwhile.
        let entries = Entries { deadlines: Mutex::new(vec![now, late]), next_expiry: AtomicU64::new(now) };
        let entries = Arc::new(entries);
        let removed = {
            let (janitor, entries) = (Arc::clone(&janitor), Arc::clone(&entries));
            thread::spawn(move || {
                for now in [now, soon] {
                    janitor.sleep(NEVER, || entries.next_expiry.load(SeqCst));
                    entries.remove_expired(&janitor, now);
                }
            })
        };
        let adding = {
            let (janitor, entries) = (Arc::clone(&janitor), Arc::clone(&entries));
            thread::spawn(move || entries.add(&janitor, soon))
        };
        adding.join().expect("it is added");
        removed.join().expect("it is removed");
        assert_eq!(*entries.deadlines.lock(), [late]);
    });
}

#[test]
fn whoever_calls_is_heard() {
    explore(|| {
        let (janitor, is_there) = (Arc::new(Janitor::new()), Arc::new(AtomicBool::new(false)));
        let looking = {
            let (janitor, is_there) = (Arc::clone(&janitor), Arc::clone(&is_there));
            thread::spawn(move || {
                while !is_there.load(SeqCst) {
                    janitor.sleep(NEVER, || NEVER);
                }
            })
        };
        is_there.store(true, SeqCst);
        janitor.call();
        looking.join().expect("it looks");
    });
}

/// Tells when it is looked at.
struct Flight(Mutex<bool>, Condvar);

impl Watched for Flight {
    fn look(&self, _: Moment) -> Option<Moment> {
        *self.0.lock() = true;
        self.1.notify_one();
        None
    }
}

#[test]
fn what_is_to_be_looked_at_is() {
    explore(|| {
        let (janitor, is_over) = (Arc::new(Janitor::new()), Arc::new(AtomicBool::new(false)));
        let looking = {
            let (janitor, is_over) = (Arc::clone(&janitor), Arc::clone(&is_over));
            thread::spawn(move || {
                while !is_over.load(SeqCst) {
                    janitor.sleep(NEVER, || after(86_400));
                }
            })
        };
        let flight = Arc::new(Flight(Mutex::new(false), Condvar::new()));
        let watched: Weak<Flight> = Arc::downgrade(&flight);
        janitor.call_at(clock::now(), watched);
        let mut is_looked_at = flight.0.lock();
        while !*is_looked_at {
            flight.1.wait(&mut is_looked_at);
        }
        is_over.store(true, SeqCst);
        janitor.call();
        looking.join().expect("it looks");
    });
}
