//! Asking for the addresses of a name, for no longer than until a deadline: the operating system's own way to
//! do it knows none.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// How long an answer is used again.
const FRESH: Duration = Duration::from_secs(10);

/// The addresses of one name. However many ask, one thread does.
#[derive(Debug, Default)]
pub(super) struct Resolver {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    addresses: Vec<SocketAddr>,
    known_since: Option<Instant>,
    is_running: bool,
    error: Option<io::ErrorKind>,
}

impl Resolver {
    /// The addresses of a host, at least one.
    pub(super) fn resolve(
        self: &Arc<Self>,
        host: &str,
        port: u16,
        deadline: Instant,
    ) -> io::Result<Vec<SocketAddr>> {
        let mut state = self.state.lock();
        if state.known_since.is_some_and(|since| since.elapsed() < FRESH) {
            return Ok(state.addresses.clone());
        }
        if !state.is_running {
            let (resolver, host) = (Arc::clone(self), host.to_owned());
            let ask = move || resolver.answered((host.as_str(), port).to_socket_addrs());
            thread::Builder::new().name("cached-resolver".to_owned()).spawn(ask)?;
            state.is_running = true;
        }
        while state.is_running {
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        match state.error {
            None => Ok(state.addresses.clone()),
            Some(kind) => Err(io::Error::new(kind, "the name of the server has no address")),
        }
    }

    /// The addresses lead nowhere; they may have changed.
    pub(super) fn forget(&self) {
        self.state.lock().known_since = None;
    }

    fn answered(&self, answer: io::Result<impl Iterator<Item = SocketAddr>>) {
        let mut state = self.state.lock();
        state.is_running = false;
        match answer.map(Iterator::collect::<Vec<_>>) {
            Ok(addresses) if !addresses.is_empty() => {
                state.addresses = addresses;
                state.known_since = Some(Instant::now());
                state.error = None;
            }
            Ok(_) => state.error = Some(io::ErrorKind::NotFound),
            Err(error) => state.error = Some(error.kind()),
        }
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_resolved_by_the_deadline_or_not_at_all() {
        let soon = || Instant::now() + Duration::from_secs(30);
        let resolver = Arc::new(Resolver::default());
        let addresses = resolver.resolve("localhost", 7, soon()).unwrap();
        assert!(addresses.iter().all(|address| address.ip().is_loopback() && address.port() == 7));
        assert!(resolver.resolve("localhost", 7, Instant::now()).is_ok(), "it is known");
        resolver.forget();
        let error = resolver.resolve("localhost", 7, Instant::now()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(Arc::new(Resolver::default()).resolve("no host", 7, soon()).is_err());
    }
}
