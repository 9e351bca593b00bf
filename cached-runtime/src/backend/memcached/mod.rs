//! memcached, through its meta protocol: a client of our own.
//!
//! A deadline holds for an operation as a whole, however slowly bytes drip; several servers are used by the same
//! rules in every build; nothing a server may answer is taken for the answer to something else.

mod blocking;
mod expiry;
mod health;
mod node;
mod protocol;
mod rendezvous;
mod request;
mod resolve;
mod server;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use expiry::expiry;
use node::{Node, found_in};
use protocol::Body;
use request::{Failure, Request, done};
pub use server::Server;

use super::driver::{Answer, Driver, DriverError, Expected, Found};

/// So many bytes of commands are sent to all servers together before their answers are read. They fit into what the
/// system holds of a connection, so that neither end waits for the other to read.
const MOST_SENT: usize = 32 * 1024;

/// How memcached is reached.
#[derive(Clone, Debug)]
pub struct Config {
    /// The servers; keys are spread over them by their names.
    pub servers: Vec<Server>,
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
    /// These servers, and the rest as usual: 50 ms to connect, a second until a server is tried again, 64 idle
    /// connections, 64 MiB.
    #[must_use]
    pub fn new(servers: Vec<Server>) -> Self {
        let Settings { connect_timeout, retry_after, most_idle, largest_value } = Settings::default();
        Self { servers, connect_timeout, retry_after, most_idle, largest_value }
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
/// Keys are spread by rendezvous hashing. While a server does not answer, its keys are on the others, each on the
/// next by its scores; when it is back, what it still holds of them is found again.
#[derive(Debug)]
pub struct Memcached {
    nodes: Arc<Nodes>,
    settings: Settings,
}

/// The servers that there are at a time.
#[derive(Debug)]
struct Nodes {
    all: Vec<Arc<Node>>,
    seeds: Vec<u64>,
}

impl Nodes {
    fn new(all: Vec<Arc<Node>>) -> Self {
        Self { seeds: all.iter().map(|node| node.seed).collect(), all }
    }

    /// Which server to ask for a key. If none is up, the one that it should be on is asked all the same.
    fn choose(&self, key: &str, failed: &[usize], now: Instant) -> Option<usize> {
        let is_left = |index: usize| !failed.contains(&index);
        rendezvous::choose(key, &self.seeds, |index| is_left(index) && self.all[index].is_good(now))
            .or_else(|| rendezvous::choose(key, &self.seeds, is_left))
    }
}

/// The keys that one server is asked for, by their places among all.
struct Group {
    index: usize,
    places: Vec<usize>,
}

/// Which servers to ask for which of the keys that wait, for as many as may be asked together; the others go on
/// waiting.
fn group(nodes: &Nodes, keys: &[&str], waiting: &mut Vec<usize>, failed: &[usize]) -> Answer<Vec<Group>> {
    let now = Instant::now();
    let mut bytes = 0;
    let fitting = waiting.iter().take_while(|place| {
        bytes += keys[**place].len() + 24;
        bytes <= MOST_SENT
    });
    let count = fitting.count().max(1).min(waiting.len());
    let mut groups: Vec<Group> = Vec::with_capacity(nodes.all.len().min(count));
    for place in waiting.drain(..count) {
        let index = nodes.choose(keys[place], failed, now).ok_or_else(no_server)?;
        match groups.iter_mut().find(|group| group.index == index) {
            Some(group) => group.places.push(place),
            None => groups.push(Group { index, places: vec![place] }),
        }
    }
    Ok(groups)
}

fn no_server() -> DriverError {
    DriverError::Unavailable("there is no server".into())
}

/// What was found of several keys so far, and what went wrong.
struct Gathered {
    found: Vec<Option<Found>>,
    /// Places of keys that are not answered yet.
    waiting: Vec<usize>,
    /// Servers to which there is no connection.
    failed: Vec<usize>,
    error: Option<DriverError>,
}

impl Gathered {
    fn new(count: usize) -> Self {
        Self { found: vec![None; count], waiting: (0..count).collect(), failed: Vec::new(), error: None }
    }

    /// Takes what a server answered, or did not. Keys that it could not be asked for go on to the next, if there is
    /// one.
    fn take(&mut self, nodes: &Nodes, group: Group, life: u16, result: Result<Vec<Body>, Failure>) {
        // Where one server was waited for until the deadline, the others had no time to be read.
        if !matches!((&result, &self.error), (Err(Failure::TimedOut), Some(DriverError::TimedOut))) {
            nodes.all[group.index].note(&result);
        }
        match result {
            Ok(bodies) => {
                for (place, body) in group.places.into_iter().zip(bodies) {
                    match found_in(life, body) {
                        Ok(found) => self.found[place] = found,
                        Err(error) => self.error = Some(error),
                    }
                }
            }
            Err(Failure::Unreachable(_)) if self.failed.len() + 1 < nodes.all.len() => {
                self.failed.push(group.index);
                self.waiting.extend(group.places);
            }
            Err(failure) => self.error = Some(failure.into()),
        }
    }

    fn is_finished(&self) -> bool {
        self.waiting.is_empty() || self.error.is_some()
    }

    fn finish(self) -> Answer<Vec<Option<Found>>> {
        self.error.map_or(Ok(self.found), Err)
    }
}

/// Whether anything but a key would go where a key stands in a command.
fn check_key(key: &str) -> Answer<()> {
    let is_key = !key.is_empty() && key.len() <= 250 && key.bytes().all(|byte| byte.is_ascii_graphic());
    if is_key { Ok(()) } else { Err(DriverError::Failed("not a key".into())) }
}

fn in_time(deadline: Instant) -> Answer<()> {
    if Instant::now() < deadline { Ok(()) } else { Err(DriverError::TimedOut) }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl Memcached {
    /// Connects when it is first asked.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let settings = config.settings();
        let all = config.servers.into_iter().map(|server| Arc::new(Node::new(server, settings)));
        Self { nodes: Arc::new(Nodes::new(all.collect())), settings }
    }

    fn nodes(&self, deadline: Instant) -> Answer<Arc<Nodes>> {
        in_time(deadline)?;
        Ok(Arc::clone(&self.nodes))
    }

    /// Asks the server that a key is on; if no connection to it can be had, the next.
    fn ask(
        &self,
        key: &str,
        expected: Expected,
        deadline: Instant,
        request: impl Fn(protocol::Condition) -> Request,
    ) -> Answer<bool> {
        check_key(key)?;
        let nodes = self.nodes(deadline)?;
        let mut failed = Vec::new();
        loop {
            let index = nodes.choose(key, &failed, Instant::now()).ok_or_else(no_server)?;
            let node = &nodes.all[index];
            let Some(condition) = node.condition(expected) else { return Ok(false) };
            let result = node.ask(&request(condition), deadline);
            node.note(&result);
            match result {
                Ok(bodies) => return bodies.into_iter().next().map_or(Ok(false), done),
                Err(Failure::Unreachable(_)) if failed.len() + 1 < nodes.all.len() => failed.push(index),
                Err(failure) => return Err(failure.into()),
            }
        }
    }
}

impl Driver for Memcached {
    fn get(&self, keys: &[&str], deadline: Instant) -> Answer<Vec<Option<Found>>> {
        keys.iter().try_for_each(|key| check_key(key))?;
        let nodes = self.nodes(deadline)?;
        let mut gathered = Gathered::new(keys.len());
        while !gathered.is_finished() {
            let groups = group(&nodes, keys, &mut gathered.waiting, &gathered.failed)?;
            // All servers work on it at once.
            let sent: Vec<_> = groups
                .into_iter()
                .map(|group| {
                    let node = &nodes.all[group.index];
                    let life = node.life();
                    let request = Request::get(group.places.iter().map(|place| keys[*place]));
                    let sent = node.send(&request, deadline);
                    (group, life, request, sent)
                })
                .collect();
            for (group, life, request, sent) in sent {
                let node = &nodes.all[group.index];
                let result = sent.and_then(|sent| node.receive(&request, sent, deadline));
                gathered.take(&nodes, group, life, result);
            }
        }
        gathered.finish()
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
}
