//! The list of servers as an endpoint tells it: `config get cluster` of managed memcached.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::Settings;
use super::node::Node;
use super::request::Failure;
use super::routing::Nodes;
use super::server::Server;
use crate::backend::driver::{Answer, DriverError};
use crate::backend::event::{Event, emit};

/// How long an endpoint may take to tell the list. No operation waits for it but those before the first list.
const PATIENCE: Duration = Duration::from_secs(2);
/// What is longer is as good as never.
const LONGEST_PAUSE: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// The longest list, in bytes; it would be of some thousands of servers.
const LONGEST: usize = 256 * 1024;

/// Reads the list now and then, while there are operations, and keeps the last good one.
#[derive(Debug)]
pub(super) struct Discovery {
    endpoints: Vec<Arc<Node>>,
    /// The list is read again after this time.
    refresh: Duration,
    settings: Settings,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// Empty until there was a first list; never again afterwards.
    nodes: Arc<Nodes>,
    is_reading: bool,
    read_last: Option<Instant>,
    /// Now, if absent.
    read_next: Option<Instant>,
    /// Why there is no list yet.
    error: Option<String>,
    /// Servers that are in the list no more, by name and address.
    left: HashSet<(Server, Option<SocketAddr>)>,
}

impl Discovery {
    pub(super) fn new(endpoints: Vec<Server>, refresh: Duration, settings: Settings) -> Self {
        let endpoints = endpoints.into_iter().map(|server| Arc::new(Node::new(server, None, settings)));
        let state = State {
            nodes: Arc::default(),
            is_reading: false,
            read_last: None,
            read_next: None,
            error: None,
            left: HashSet::new(),
        };
        Self {
            endpoints: endpoints.collect(),
            refresh,
            settings,
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    /// The servers; before the first list there are none to be had without waiting.
    #[cfg(feature = "tokio")]
    pub(super) fn known(self: &Arc<Self>) -> Option<Arc<Nodes>> {
        let mut state = self.state.lock();
        self.read_if_due(&mut state);
        (!state.nodes.is_empty()).then(|| Arc::clone(&state.nodes))
    }

    /// The servers, which may have to be waited for.
    pub(super) fn nodes(self: &Arc<Self>, deadline: Instant) -> Answer<Arc<Nodes>> {
        let mut state = self.state.lock();
        self.read_if_due(&mut state);
        while state.nodes.is_empty() {
            if !state.is_reading {
                let error = state.error.clone().unwrap_or_default();
                return Err(DriverError::Unavailable(format!("no list of servers: {error}").into()));
            }
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                return Err(DriverError::TimedOut);
            }
        }
        Ok(Arc::clone(&state.nodes))
    }

    /// A server did not answer: the list may have changed.
    pub(super) fn hurry(&self) {
        let mut state = self.state.lock();
        let Some(last) = state.read_last else { return };
        let soon = last.checked_add(self.settings.retry_after);
        state.read_next = state.read_next.into_iter().chain(soon).min();
    }

    fn read_if_due(self: &Arc<Self>, state: &mut State) {
        if state.is_reading || state.read_next.is_some_and(|next| Instant::now() < next) {
            return;
        }
        let discovery = Arc::clone(self);
        let thread = thread::Builder::new().name("cached-discovery".to_owned());
        match thread.spawn(move || discovery.read()) {
            Ok(_) => state.is_reading = true,
            Err(error) => state.error = Some(error.to_string()),
        }
    }

    fn read(&self) {
        let deadline = Instant::now() + PATIENCE;
        let mut result = Err("no endpoint".to_owned());
        for endpoint in &self.endpoints {
            result = list(endpoint, deadline);
            if result.is_ok() {
                break;
            }
        }
        let now = Instant::now();
        let mut state = self.state.lock();
        state.is_reading = false;
        state.read_last = Some(now);
        let (pause, event) = match result {
            Ok(list) => {
                let nodes = self.renewed(&mut state, list);
                let servers = nodes.names();
                let is_other = servers != state.nodes.names();
                state.nodes = Arc::new(nodes);
                state.error = None;
                (self.refresh, is_other.then_some(Event::ServersChanged { servers }))
            }
            Err(message) => {
                let is_first = state.error.replace(message.clone()).is_none();
                (self.settings.retry_after, is_first.then_some(Event::ServersUnknown { message }))
            }
        };
        state.read_next = Some(now.checked_add(pause).unwrap_or(now + LONGEST_PAUSE));
        self.changed.notify_all();
        drop(state);
        if let Some(event) = event {
            emit(&event);
        }
    }

    /// Servers that stay keep their connections. Those that come back were away.
    fn renewed(&self, state: &mut State, list: Vec<Listed>) -> Nodes {
        let State { nodes: old, left, .. } = state;
        let node = |listed: Listed| {
            if let Some(stays) = old.iter().find(|node| node.is_at(&listed.server, listed.ip)) {
                return Arc::clone(stays);
            }
            let node = Node::new(listed.server, listed.ip, self.settings);
            if left.remove(&node.place()) {
                node.absences.add();
            }
            Arc::new(node)
        };
        let new: Vec<_> = list.into_iter().map(node).collect();
        let leaves = |node: &&Arc<Node>| !new.iter().any(|it| Arc::ptr_eq(it, node));
        left.extend(old.iter().filter(leaves).map(|node| node.place()));
        Nodes::new(new)
    }
}

/// Asks an endpoint for its list. The error names the endpoint.
fn list(endpoint: &Node, deadline: Instant) -> Result<Vec<Listed>, String> {
    // The second is for engines before 1.4.14.
    let commands = [&b"config get cluster\r\n"[..], b"get AmazonElastiCache:cluster\r\n"];
    let mut error = String::new();
    for command in commands {
        match endpoint.ask_for_text(command, LONGEST, is_whole, deadline) {
            Ok(text) => match parse(&text) {
                Some(list) => return Ok(list),
                None => "it answers no list".clone_into(&mut error),
            },
            Err(Failure::Malformed(why)) => error = why.to_string(),
            Err(failure) => {
                error = failure.to_string();
                break;
            }
        }
    }
    Err(format!("{}: {error}", endpoint.server))
}

/// Whether the end of an answer has come: of a list, or of an error.
fn is_whole(text: &[u8]) -> bool {
    text.ends_with(b"\r\nEND\r\n")
        || text == b"END\r\n"
        || (text.ends_with(b"\r\n") && !text.starts_with(b"CONFIG ") && !text.starts_with(b"VALUE "))
}

/// A server of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Listed {
    server: Server,
    ip: Option<IpAddr>,
}

/// The servers of an answer: a header, the version of the list, `host|ip|port` of each, `END`. An `ip` may be
/// missing.
fn parse(text: &[u8]) -> Option<Vec<Listed>> {
    let text = std::str::from_utf8(text).ok()?;
    let mut lines = text.lines();
    let header = lines.next()?;
    if !header.starts_with("CONFIG cluster ") && !header.starts_with("VALUE AmazonElastiCache:cluster ") {
        return None;
    }
    let _version: u64 = lines.next()?.trim().parse().ok()?;
    let list: Option<Vec<_>> = lines.next()?.split_ascii_whitespace().map(parse_server).collect();
    // An empty list is one that is not ready.
    list.filter(|list| !list.is_empty())
}

fn parse_server(text: &str) -> Option<Listed> {
    let mut parts = text.split('|');
    let (host, ip, port) = (parts.next()?, parts.next()?, parts.next()?.parse().ok()?);
    let ip = if ip.is_empty() { None } else { Some(ip.parse::<IpAddr>().ok()?) };
    let host = if host.is_empty() { ip?.to_string() } else { host.to_owned() };
    parts.next().is_none().then(|| Listed { server: Server::tcp(&host, port), ip })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn listed(host: &str, ip: Option<&str>, port: u16) -> Listed {
        Listed { server: Server::tcp(host, port), ip: ip.map(|ip| ip.parse().unwrap()) }
    }

    #[test]
    fn lists_are_understood() {
        let both = [listed("one.cache", Some("10.0.0.1"), 11211), listed("two.cache", None, 11212)];
        for header in ["CONFIG cluster 0 63", "VALUE AmazonElastiCache:cluster 0 63"] {
            let text = format!("{header}\r\n12\none.cache|10.0.0.1|11211 two.cache||11212\n\r\nEND\r\n");
            assert_eq!(parse(text.as_bytes()).as_deref(), Some(&both[..]));
            assert!(is_whole(text.as_bytes()));
            assert!(!is_whole(&text.as_bytes()[..text.len() - 3]));
        }
        let nameless = b"CONFIG cluster 0 18\r\n1\n|::1|11211\n\r\nEND\r\n";
        assert_eq!(parse(nameless), Some(vec![listed("::1", Some("::1"), 11211)]));
        assert!(is_whole(b"ERROR\r\n"));
        assert!(is_whole(b"END\r\n"));
    }

    #[test]
    fn what_is_no_list_is_not_taken_for_one() {
        for text in [
            "",
            "ERROR\r\n",
            "END\r\n",
            "CONFIG cluster 0 0\r\n\r\nEND\r\n",
            "CONFIG cluster 0 3\r\n1\n\n\r\nEND\r\n",
            "CONFIG cluster 0 9\r\nx\na|1.1.1.1|1\n\r\nEND\r\n",
            "CONFIG cluster 0 9\r\n1\na|1.1.1.1|99999\n\r\nEND\r\n",
            "CONFIG cluster 0 9\r\n1\na|b|1\n\r\nEND\r\n",
            "CONFIG cluster 0 9\r\n1\n||1\n\r\nEND\r\n",
            "CONFIG cluster 0 9\r\n1\na|1.1.1.1|1|1\n\r\nEND\r\n",
            "CONFIG cluster 0 9\r\n1\na|1.1.1.1|1 b\n\r\nEND\r\n",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text: Vec<u8>, list in "[a-z0-9|. :]{0,60}") {
            let _ = parse(&text);
            let _ = parse(format!("CONFIG cluster 0 9\r\n1\n{list}\n\r\nEND\r\n").as_bytes());
        }
    }
}
