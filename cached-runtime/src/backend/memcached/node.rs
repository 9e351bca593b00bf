//! A server and what is kept for it: connections, its health, which of its lives it is in.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::absence::{Absence, Absences};
use super::blocking::Pool;
use super::health::{Begun, Down, Health};
#[cfg(feature = "tokio")]
use super::line::Lines;
use super::protocol::{Body, Condition};
use super::request::{Failure, found, marked};
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
    pub(super) pool: Arc<Pool>,
    #[cfg(feature = "tokio")]
    pub(super) lines: Lines,
    /// A server that starts again counts its `cas uniques` from one again, and another server counts its own.
    /// So versions are told apart by this as well; it changes when the server closes a connection, or is
    /// down.
    life: AtomicU16,
    pub(super) absences: Absences,
}

/// One life of a server, and what counts as present in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Life {
    number: u16,
    /// The least `cas unique` of what does.
    pub(super) floor: u64,
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
            pool: Arc::default(),
            #[cfg(feature = "tokio")]
            lines: Lines::default(),
            life: AtomicU16::new(next_life()),
            absences: Absences::default(),
        }
    }

    /// Its name and address.
    pub(super) fn place(&self) -> (Server, Option<SocketAddr>) {
        (self.server.clone(), self.address)
    }

    /// Whether this is the server of this name at this address.
    pub(super) fn is_at(&self, server: &Server, ip: Option<IpAddr>) -> bool {
        self.server == *server && self.address == server.address(ip)
    }

    pub(super) fn is_good(&self) -> bool {
        self.health.is_good(Instant::now, self.settings.retry_after)
    }

    /// Notes how an operation went, and tells if the server is down or up by that. Returns whether it is down.
    pub(super) fn note<T>(&self, begun: Begun, result: &Result<T, Failure>) -> bool {
        let pause = self.settings.retry_after;
        let (down, failure) = match result {
            Ok(_) => {
                if self.health.succeeded(begun) {
                    emit(&Event::ServerUp { server: self.server.to_string() });
                }
                return false;
            }
            Err(Failure::Busy) => return false,
            Err(failure @ Failure::Unreachable(_)) => {
                self.resolver.forget();
                (self.health.down(begun, Instant::now(), pause), failure)
            }
            Err(failure) => (self.health.failed(begun, Instant::now(), pause), failure),
        };
        if down != Down::Not {
            // Nobody would see it close a connection now.
            self.may_have_restarted();
        }
        if down == Down::Now {
            emit(&Event::ServerDown { server: self.server.to_string(), message: failure.to_string() });
        }
        down != Down::Not
    }

    /// Which of its lives the server is in, to be known before a command is sent; or that it was away, and is
    /// first to be asked for a mark.
    pub(super) fn known_life(&self) -> Result<Life, Absence> {
        Ok(Life { floor: self.absences.floor()?, number: self.life.load(Relaxed) })
    }

    /// Takes what was answered to a mark after an absence.
    pub(super) fn is_back(&self, absence: Absence, begun: Begun, bodies: Vec<Body>) -> Result<(), Failure> {
        let back = marked(bodies).map(|cas| self.absences.end(absence, cas));
        if back.is_ok() {
            self.note(begun, &back);
        }
        back
    }

    /// What the server said of versions holds no longer, nor do connections that nobody uses.
    pub(super) fn may_have_restarted(&self) {
        self.life.store(next_life(), Relaxed);
        self.pool.clear();
    }

    /// The connect timeout, or what is left until the deadline if that is less.
    pub(super) fn connect_deadline(&self, deadline: Instant) -> Instant {
        let own = Instant::now().checked_add(self.settings.connect_timeout);
        own.map_or(deadline, |own| own.min(deadline))
    }
}

/// What a server has under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    Nothing,
    Present(Found),
    /// Something from before the server was away, with its `cas unique`.
    Old(u64),
}

impl Life {
    /// What to send for an expectation; none if it does not hold, whatever the server has.
    pub(super) fn condition(self, expected: Expected) -> Option<Condition> {
        match expected {
            Expected::Anything => Some(Condition::Always),
            Expected::Nothing => Some(Condition::IfNothing),
            Expected::Version(Version(version)) => {
                let is_of_this_life = version >> CAS_BITS == u64::from(self.number);
                is_of_this_life.then_some(Condition::IfCas(version & ((1 << CAS_BITS) - 1)))
            }
        }
    }

    /// What was found in this life.
    pub(super) fn item(self, body: Body) -> Answer<Item> {
        let Some((value, cas)) = found(body)? else { return Ok(Item::Nothing) };
        if cas < self.floor {
            return Ok(Item::Old(cas));
        }
        // Zero is said by servers that were told to keep no `cas uniques`.
        let has_version = cas != 0 && cas >> CAS_BITS == 0;
        let version = has_version.then_some(Version(u64::from(self.number) << CAS_BITS | cas));
        Ok(Item::Present(Found { value, version }))
    }
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
        let life = |node: &Node| node.known_life().unwrap();
        let version = |cas| match life(&one).item(Body::Value { value: b"value".to_vec(), cas }).unwrap() {
            Item::Present(found) => found.version,
            item => panic!("{item:?}"),
        };
        let expected = Expected::Version(version(7).unwrap());
        assert_eq!(life(&one).condition(expected), Some(Condition::IfCas(7)));
        assert_eq!(life(&other).condition(expected), None);
        one.may_have_restarted();
        assert_eq!(life(&one).condition(expected), None);
        assert_eq!(version(0), None);
        assert_eq!(version(1 << CAS_BITS), None);
    }

    #[test]
    fn what_is_below_the_floor_is_old() {
        let life = Life { number: 1, floor: 7 };
        let item = |cas| life.item(Body::Value { value: b"value".to_vec(), cas }).unwrap();
        assert_eq!(life.item(Body::Miss).unwrap(), Item::Nothing);
        assert_eq!(item(6), Item::Old(6));
        assert!(matches!(item(7), Item::Present(_)));
    }
}
