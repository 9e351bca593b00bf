//! memcached, through its meta protocol: a client of our own.
//!
//! A deadline holds for an operation as a whole, however slowly bytes drip; several servers are used by the
//! same rules in every build; nothing a server may answer is taken for the answer to something else.

mod absence;
#[cfg(feature = "tokio")]
mod awaited;
mod blocking;
mod discovery;
mod expiry;
mod health;
#[cfg(feature = "tokio")]
mod line;
mod node;
mod protocol;
mod rendezvous;
mod request;
mod resolve;
mod routing;
mod server;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use discovery::Discovery;
use expiry::expiry;
use node::Node;
use protocol::Condition;
use request::{Failure, Request, done};
use routing::{Gathering, Group, Nodes, Several, Way};
pub use server::Server;

#[cfg(feature = "tokio")]
use super::driver::Awaited;
use super::driver::{Answer, Driver, DriverError, Expected, Found};
#[cfg(feature = "tokio")]
use super::reactor;

/// How memcached is reached.
#[derive(Clone, Debug)]
pub struct Config {
    /// The servers; keys are spread over them by their names.
    pub servers: Vec<Server>,
    /// If present, `servers` are endpoints that tell the list of servers by `config get cluster`, as managed
    /// memcached does. The first that answers is believed, and asked again after this time, or sooner after a
    /// failure; the last good list stays.
    pub discovery: Option<Duration>,
    /// How long it may take to connect, at most until an operation's deadline.
    pub connect_timeout: Duration,
    /// A server that was marked down is tried again after this time.
    pub retry_after: Duration,
    /// So many connections to each server are kept while nobody uses them.
    pub most_idle: usize,
    /// No value is sent or taken that has more bytes, whatever the server says.
    pub largest_value: usize,
}

impl Config {
    /// These servers, and the rest as usual: 50 ms to connect, a second until a server is tried again, 64
    /// idle connections, 64 MiB.
    #[must_use]
    pub fn new(servers: Vec<Server>) -> Self {
        let Settings { connect_timeout, retry_after, most_idle, largest_value } = Settings::default();
        Self { servers, discovery: None, connect_timeout, retry_after, most_idle, largest_value }
    }

    fn settings(&self) -> Settings {
        let Self { connect_timeout, retry_after, most_idle, largest_value, .. } = *self;
        Settings { connect_timeout, retry_after, most_idle, largest_value }
    }
}

/// As in [`Config`], the same for all servers.
#[derive(Clone, Copy, Debug)]
struct Settings {
    connect_timeout: Duration,
    retry_after: Duration,
    most_idle: usize,
    largest_value: usize,
}

/// One or several memcached servers, 1.6 or later.
///
/// Keys are spread by rendezvous hashing. While a server does not answer, its keys are on the others, each on
/// the next by its scores. When it is back, nothing of what it held before is found again by those who saw it
/// away; others find it until one of them has come across it and removed it. What is written or removed whatever is
/// there, is removed from all other servers, too.
///
/// ```no_run
/// use std::time::{Duration, Instant};
/// use cached_runtime::backend::driver::{Driver, Expected};
/// use cached_runtime::backend::memcached::{Config, Memcached, Server};
///
/// let servers = vec![Server::tcp("10.0.0.1", 11211), Server::tcp("10.0.0.2", 11211)];
/// let memcached = Memcached::new(Config::new(servers));
/// let deadline = Instant::now() + Duration::from_millis(100);
/// memcached.set("key", b"value", Some(Duration::from_secs(60)), Expected::Anything, deadline)?;
/// # Ok::<_, cached_runtime::backend::driver::DriverError>(())
/// ```
#[derive(Debug)]
pub struct Memcached {
    servers: Servers,
    settings: Settings,
}

/// Where the list of servers is from.
#[derive(Clone, Debug)]
enum Servers {
    Listed(Arc<Nodes>),
    Discovered(Arc<Discovery>),
}

impl Servers {
    /// The servers, unless they would have to be waited for.
    #[cfg(feature = "tokio")]
    fn known(&self) -> Option<Arc<Nodes>> {
        match self {
            Self::Listed(nodes) => Some(Arc::clone(nodes)),
            Self::Discovered(discovery) => discovery.known(),
        }
    }

    fn nodes(&self, deadline: Instant) -> Answer<Arc<Nodes>> {
        in_time(deadline)?;
        match self {
            Self::Listed(nodes) => Ok(Arc::clone(nodes)),
            Self::Discovered(discovery) => discovery.nodes(deadline),
        }
    }
}

/// Whether nothing but a key would go where a key stands in a command.
fn check_key(key: &str) -> Answer<()> {
    let is_key = !key.is_empty() && key.len() <= 250 && key.bytes().all(|byte| byte.is_ascii_graphic());
    if is_key { Ok(()) } else { Err(DriverError::Failed("not a key".into())) }
}

fn in_time(deadline: Instant) -> Answer<()> {
    if Instant::now() < deadline { Ok(()) } else { Err(DriverError::TimedOut) }
}

/// In seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl Memcached {
    /// Connects when it is first asked.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let settings = config.settings();
        let servers = if let Some(refresh) = config.discovery {
            Servers::Discovered(Arc::new(Discovery::new(config.servers, refresh, settings)))
        } else {
            let node = |server| Arc::new(Node::new(server, None, settings));
            Servers::Listed(Arc::new(Nodes::new(config.servers.into_iter().map(node).collect())))
        };
        Self { servers, settings }
    }

    /// A server that does not answer may have left the list.
    fn note<T>(&self, result: &Result<T, Failure>) {
        if let (Servers::Discovered(discovery), Err(_)) = (&self.servers, result) {
            discovery.hurry();
        }
    }

    fn ask(
        &self,
        key: &str,
        expected: Expected,
        deadline: Instant,
        request: impl Fn(Condition) -> Request,
    ) -> Answer<bool> {
        check_key(key)?;
        let nodes = self.servers.nodes(deadline)?;
        let mut way = Way::new(&nodes);
        loop {
            let (node, begun) = way.next(key)?;
            let result = match node.life(deadline) {
                Ok(life) => {
                    let Some(condition) = life.condition(expected) else { return Ok(false) };
                    node.ask(&request(condition), deadline)
                }
                Err(failure) => Err(failure),
            };
            self.note(&result);
            if let Some(answer) = way.answer(node, begun, result) {
                if expected == Expected::Anything {
                    self.remove_from(nodes.others(node), &nodes, key, deadline);
                }
                return answer.and_then(done);
            }
        }
    }

    /// What is written or removed whatever is there, is not to be on other servers either, from when this one was
    /// away: they may be asked in its place again. Where that fails, it stays there.
    fn remove_from<'n>(
        &self,
        others: impl Iterator<Item = &'n Arc<Node>>,
        nodes: &Nodes,
        key: &str,
        deadline: Instant,
    ) {
        // All of them work on it at once.
        let asked: Vec<_> = others
            .map(|other| {
                let (request, begun) = (Request::delete(key, Condition::Always), other.health.begin());
                let sent = other.send(&request, deadline);
                (other, begun, request, sent)
            })
            .collect();
        for (other, begun, request, sent) in asked {
            let result = sent.and_then(|sent| other.receive(&request, sent, deadline));
            self.note(&result);
            nodes.note(other, begun, &result);
        }
    }
}

impl Driver for Memcached {
    fn get(&self, keys: &[&str], deadline: Instant) -> Answer<Vec<Option<Found>>> {
        keys.iter().try_for_each(|key| check_key(key))?;
        let nodes = self.servers.nodes(deadline)?;
        let mut gathering = Gathering::new(&nodes, keys.len());
        loop {
            let groups = gathering.next(keys)?;
            if groups.is_empty() {
                return gathering.finish();
            }
            if groups.iter().any(Group::was_away) {
                for group in groups {
                    let life = group.node.life(deadline);
                    self.note(&life);
                    gathering.welcome(group, life);
                }
                continue;
            }
            // All servers work on it at once.
            let mut asked = Several::with_capacity(groups.len());
            for group in groups {
                let request = group.request(keys);
                let sent = group.node.send(&request, deadline);
                asked.push((group, request, sent));
            }
            for (group, request, sent) in asked {
                let result = sent.and_then(|sent| group.node.receive(&request, sent, deadline));
                self.note(&result);
                if let Some((old, request)) = gathering.take(group, keys, result) {
                    let result = old.node.ask(&request, deadline);
                    self.note(&result);
                    gathering.removed(&old, result);
                }
            }
        }
    }

    fn set(
        &self,
        key: &str,
        value: &[u8],
        ttl: Option<Duration>,
        expected: Expected,
        deadline: Instant,
    ) -> Answer<bool> {
        let expiry = expiry(ttl, now());
        let stored = if value.len() > self.settings.largest_value {
            Err(DriverError::TooLarge)
        } else {
            self.ask(key, expected, deadline, |condition| Request::set(key, value, expiry, condition))
        };
        if matches!(stored, Err(DriverError::TooLarge)) {
            // The server has removed what was there, unless it is one that does not, or was not asked.
            self.delete(key, Expected::Anything, deadline)?;
        }
        stored
    }

    fn delete(&self, key: &str, expected: Expected, deadline: Instant) -> Answer<bool> {
        if expected == Expected::Nothing {
            return check_key(key).and_then(|()| in_time(deadline)).map(|()| false);
        }
        self.ask(key, expected, deadline, |condition| Request::delete(key, condition))
    }

    #[cfg(feature = "tokio")]
    fn get_async(self: Arc<Self>, keys: Vec<String>, deadline: Instant) -> Awaited<Vec<Option<Found>>> {
        Box::pin(async move { self.get_on(&reactor::runtime()?, &keys, deadline).await })
    }

    #[cfg(feature = "tokio")]
    fn set_async(
        self: Arc<Self>,
        key: String,
        value: Vec<u8>,
        ttl: Option<Duration>,
        expected: Expected,
        deadline: Instant,
    ) -> Awaited<bool> {
        Box::pin(
            async move { self.set_on(&reactor::runtime()?, &key, &value, ttl, expected, deadline).await },
        )
    }

    #[cfg(feature = "tokio")]
    fn delete_async(self: Arc<Self>, key: String, expected: Expected, deadline: Instant) -> Awaited<bool> {
        Box::pin(async move { self.delete_on(&reactor::runtime()?, &key, expected, deadline).await })
    }
}
