//! A server and what is kept for it: connections, its health, which of its lives it is in.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::blocking::Pool;
use super::health::{Down, Health};
#[cfg(feature = "tokio")]
use super::line::Lines;
use super::protocol::{Body, Condition};
use super::request::{Failure, found};
use super::resolve::Resolver;
use super::server::Server;
use super::{Settings, rendezvous};
use crate::backend::driver::{Answer, Expected, Found, Version};
use crate::backend::event::{Event, emit};

/// How many of a version's bits are a `cas unique`; those above say of which server and which of its lives.
const CAS_BITS: u32 = 48;

#[derive(Debug)]
pub(super) struct Node {
    pub(super) server: Server,
    /// Where to connect to, if that is known without asking for a name.
    pub(super) address: Option<SocketAddr>,
    /// What [`rendezvous`] knows it by.
    pub(super) seed: u64,
    pub(super) settings: Settings,
    pub(super) health: Health,
    pub(super) resolver: Arc<Resolver>,
    pub(super) pool: Pool,
    #[cfg(feature = "tokio")]
    pub(super) lines: Lines,
    /// A server that starts again counts its `cas uniques` from one again, and another server counts its own.
    /// So versions are told apart by this as well; it changes when the server closes a connection, or is
    /// down.
    life: AtomicU16,
}

/// A number that no other life of a server has, as far as 16 bits go.
fn next_life() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    NEXT.fetch_add(1, Relaxed)
}

impl Node {
    /// A server, and its address if that is known beside its name.
    pub(super) fn new(server: Server, ip: Option<IpAddr>, settings: Settings) -> Self {
        Self {
            seed: rendezvous::seed(&server.to_string()),
            address: server.address(ip),
            server,
            settings,
            health: Health::default(),
            resolver: Arc::default(),
            pool: Pool::default(),
            #[cfg(feature = "tokio")]
            lines: Lines::default(),
            life: AtomicU16::new(next_life()),
        }
    }

    /// Whether this is the server of this name at this address.
    pub(super) fn is_at(&self, server: &Server, ip: Option<IpAddr>) -> bool {
        self.server == *server && self.address == server.address(ip)
    }

    pub(super) fn is_good(&self, now: Instant) -> bool {
        self.health.is_good(now, self.settings.retry_after)
    }

    /// Notes how an operation went, and tells if the server is down or up by that.
    pub(super) fn note<T>(&self, result: &Result<T, Failure>) {
        let pause = self.settings.retry_after;
        let (down, failure) = match result {
            Ok(_) => {
                if self.health.succeeded() {
                    emit(&Event::ServerUp { server: self.server.to_string() });
                }
                return;
            }
            Err(failure @ Failure::Unreachable(_)) => {
                self.resolver.forget();
                (self.health.down(Instant::now(), pause), failure)
            }
            Err(failure) => (self.health.failed(Instant::now(), pause), failure),
        };
        if down != Down::Not {
            // Nobody would see it close a connection now.
            self.may_have_restarted();
        }
        if down == Down::Now {
            emit(&Event::ServerDown { server: self.server.to_string(), message: failure.to_string() });
        }
    }

    /// Which of its lives the server is in, to be asked for before a command is sent.
    pub(super) fn life(&self) -> u16 {
        self.life.load(Relaxed)
    }

    /// What the server said of versions holds no longer, nor do connections that nobody uses.
    pub(super) fn may_have_restarted(&self) {
        self.life.store(next_life(), Relaxed);
        self.pool.clear();
    }

    /// What to send for an expectation; none if it does not hold, whatever the server has.
    pub(super) fn condition(&self, expected: Expected) -> Option<Condition> {
        match expected {
            Expected::Anything => Some(Condition::Always),
            Expected::Nothing => Some(Condition::IfNothing),
            Expected::Version(Version(version)) => {
                let is_of_this_life = version >> CAS_BITS == u64::from(self.life());
                is_of_this_life.then_some(Condition::IfCas(version & ((1 << CAS_BITS) - 1)))
            }
        }
    }

    /// The connect timeout, or what is left until the deadline if that is less.
    pub(super) fn connect_deadline(&self, deadline: Instant) -> Instant {
        let own = Instant::now().checked_add(self.settings.connect_timeout);
        own.map_or(deadline, |own| own.min(deadline))
    }
}

/// What was found, in that life of a server.
pub(super) fn found_in(life: u16, body: Body) -> Answer<Option<Found>> {
    Ok(found(body)?.map(|(value, cas)| {
        // Zero is said by servers that were told to keep no `cas uniques`.
        let has_version = cas != 0 && cas >> CAS_BITS == 0;
        let version = has_version.then_some(Version(u64::from(life) << CAS_BITS | cas));
        Found { value, version }
    }))
}

/// Settings that are the same for all servers.
impl Default for Settings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_millis(50),
            retry_after: Duration::from_secs(1),
            most_idle: 64,
            largest_value: 64 << 20,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_holds_for_one_life_of_one_server() {
        let node = |port| Node::new(Server::tcp("127.0.0.1", port), None, Settings::default());
        let (one, other) = (node(1), node(2));
        let value = |cas| Body::Value { value: b"value".to_vec(), cas };
        let version = |node: &Node, cas| found_in(node.life(), value(cas)).unwrap().unwrap().version;
        let expected = Expected::Version(version(&one, 7).unwrap());
        assert_eq!(one.condition(expected), Some(Condition::IfCas(7)));
        assert_eq!(other.condition(expected), None);
        one.may_have_restarted();
        assert_eq!(one.condition(expected), None);
        assert_eq!(version(&one, 0), None);
        assert_eq!(version(&one, 1 << CAS_BITS), None);
    }
}
