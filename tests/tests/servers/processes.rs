//! Processes that share a server or a file.

use cached_tests::processes::Process;
use cached_tests::servers::{Folder, Server};
use cached_tests::{eventually, watched};

/// A backend of a test's own, there until this is dropped.
struct Place {
    url: String,
    _server: Option<Server>,
    _folder: Folder,
}

impl Place {
    fn memcached() -> Self {
        let server = Server::memcached(&[]);
        Self {
            url: format!("memcached://{}", server.address()),
            _server: Some(server),
            _folder: Folder::new(),
        }
    }

    fn redis() -> Self {
        let server = Server::redis(&[]);
        Self { url: format!("redis://{}", server.address()), _server: Some(server), _folder: Folder::new() }
    }

    fn sqlite() -> Self {
        let folder = Folder::new();
        Self { url: format!("sqlite://{}/cache.db", folder.path().display()), _server: None, _folder: folder }
    }

    /// A process, with so much time for each operation that none fails on a machine that is busy.
    fn process(&self) -> Process {
        Process::start(env!("CARGO_BIN_EXE_process"), &format!("{}?timeout=20s", self.url))
    }
}

/// The same test on each engine.
macro_rules! on_each_engine {
    ($(fn $name:ident($place:ident) $body:block)*) => {
        $(fn $name($place: &Place) $body)*

        on_each_engine!(memcached $($name)*);
        on_each_engine!(redis $($name)*);
        on_each_engine!(sqlite $($name)*);
    };
    ($engine:ident $($name:ident)*) => {
        mod $engine {
            use super::*;

            $(#[test]
            fn $name() {
                watched(|| super::$name(&Place::$engine()));
            })*
        }
    };
}

/// The values of the bodies that have begun.
fn bodies(processes: &[Process]) -> Vec<String> {
    processes.iter().flat_map(|process| process.said("body")).collect()
}

on_each_engine! {
    fn one_computes_and_the_other_hits(place) {
        let (one, other) = (place.process(), place.process());
        assert_eq!(one.call("call", "key"), one.value("key"));
        assert_eq!(other.call("call", "key"), one.value("key"));
        assert_eq!((one.said("body"), other.said("body")), (vec![one.value("key")], vec![]));
        assert_eq!((one.ask("hits", ""), other.ask("hits", "")), ("0".to_owned(), "1".to_owned()));
    }

    fn of_eight_processes_with_eight_threads_each_one_computes(place) {
        let processes: Vec<Process> = (0..8).map(|_| place.process()).collect();
        // All are there, and connected.
        for process in &processes {
            assert_eq!(process.ask("peek", "held"), "");
        }
        for process in &processes {
            (0..8).for_each(|_| process.tell("call", "held"));
        }
        for process in &processes {
            eventually(|| process.ask("misses", "") == "8");
        }
        eventually(|| !bodies(&processes).is_empty());
        for process in &processes {
            process.tell("go", "");
        }
        for process in &processes {
            eventually(|| process.said("got").len() == 8);
        }
        let bodies = bodies(&processes);
        assert_eq!(bodies.len(), 1);
        for process in &processes {
            assert_eq!(process.said("got"), vec![bodies[0].clone(); 8]);
        }
    }

    fn a_holder_that_is_killed_delays_the_others_only_for_the_lease(place) {
        let mut holder = place.process();
        let others = [place.process(), place.process()];
        holder.tell("hurry", "held");
        eventually(|| !holder.said("body").is_empty());
        for other in &others {
            other.tell("go", "");
            other.tell("hurry", "held");
        }
        holder.kill();
        for other in &others {
            eventually(|| other.said("got").len() == 1);
        }
        let values = bodies(&others);
        assert!(!values.is_empty());
        let later = place.process();
        let got = later.call("hurry", "held");
        assert!(values.contains(&got) && later.said("body").is_empty(), "{got}");
        for other in &others {
            assert!(values.contains(&other.said("got")[0]));
        }
    }

    fn a_holder_that_hangs_delays_the_others_only_for_the_lease_and_writes_too_late(place) {
        let (holder, other) = (place.process(), place.process());
        holder.tell("hurry", "held");
        eventually(|| !holder.said("body").is_empty());
        holder.pause();
        other.tell("go", "");
        assert_eq!(other.call("hurry", "held"), other.value("held"));
        holder.resume();
        holder.tell("go", "");
        eventually(|| holder.said("got").len() == 1);
        assert_eq!(holder.said("got"), [holder.value("held")], "its own caller gets its value");
        assert_eq!(holder.ask("overtaken", ""), "1");
        for process in [&holder, &other] {
            assert_eq!(process.ask("hurried", "held"), other.value("held"));
        }
    }

    fn an_invalidation_meanwhile_fences_the_late_write(place) {
        let (holder, other) = (place.process(), place.process());
        holder.tell("call", "held");
        eventually(|| !holder.said("body").is_empty());
        assert_eq!(other.ask("invalidate", "held"), "");
        holder.tell("go", "");
        eventually(|| holder.said("got").len() == 1);
        assert_eq!(holder.said("got"), [holder.value("held")], "its own caller gets its value");
        for process in [&holder, &other] {
            assert_eq!(process.ask("peek", "held"), "");
        }
        other.tell("go", "");
        assert_eq!(other.call("call", "held"), other.value("held"));
        assert_eq!(holder.call("call", "held"), other.value("held"));
    }
}
