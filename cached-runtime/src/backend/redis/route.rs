//! Which server to ask for a key, and how that is learnt.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use redis::{Cmd, ServerError, ServerErrorKind, Value};

use super::super::driver::{Answer, DriverError};
use super::config::{Address, Config, Endpoint, Topology};
use super::limit::Limit;
use super::node::Node;
use super::reply::{only, unexpected};
use super::setup::Setup;
#[cfg(feature = "tls")]
use super::setup::tls;
use super::slots::{Map, host_or};
use super::socket::share;
use super::transport::Transport;

const LONGEST_CONNECT: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) struct Router {
    /// Those who are asked who has what; none where there is but one server.
    seeds: Vec<Arc<Node>>,
    question: Option<Cmd>,
    pub(super) setup: Arc<Setup>,
    /// What is known, so that their connections outlive a change of the map.
    nodes: Mutex<HashMap<Endpoint, Arc<Node>>>,
    map: RwLock<Option<Arc<Map>>>,
    /// A server that did not answer in time. The map is learnt anew before the next operation, from others.
    suspect: Mutex<Option<Arc<Node>>>,
    is_suspect: AtomicBool,
    is_learning: AtomicBool,
    /// For values, of whichever server.
    pub(super) limit: Limit,
}

impl Router {
    pub(super) fn new(config: Config) -> Self {
        // Of any length, but such that it can be added to the time of day.
        let connect_timeout = config.connect_timeout.min(LONGEST_CONNECT);
        let setup = Arc::new(Setup {
            user: config.user,
            password: config.password,
            database: config.database,
            only_master: matches!(config.topology, Topology::Sentinel { .. }),
            connect_timeout,
            #[cfg(feature = "tls")]
            tls: tls(config.tls.as_ref()),
        });
        let nodes = |endpoints: Vec<Endpoint>, setup: &Arc<Setup>| -> Vec<_> {
            endpoints.into_iter().map(|it| Node::new(Address::Tcp(it), Arc::clone(setup))).collect()
        };
        let mut map = None;
        let (seeds, question) = match config.topology {
            Topology::Standalone(address) => {
                map = Some(Arc::new(Map::single(Node::new(address, Arc::clone(&setup)))));
                (Vec::new(), None)
            }
            Topology::Cluster(endpoints) => {
                let mut question = redis::cmd("CLUSTER");
                question.arg("SLOTS");
                (nodes(endpoints, &setup), Some(question))
            }
            Topology::Sentinel { sentinels, master } => {
                // Sentinels have no databases and mostly no users; those who do say so.
                let plain = Arc::new(Setup {
                    user: None,
                    password: None,
                    database: 0,
                    only_master: false,
                    connect_timeout,
                    #[cfg(feature = "tls")]
                    tls: tls(config.tls.as_ref()),
                });
                let mut question = redis::cmd("SENTINEL");
                question.arg("get-master-addr-by-name").arg(master);
                (nodes(sentinels, &plain), Some(question))
            }
        };
        Self {
            seeds,
            question,
            setup,
            nodes: Mutex::default(),
            map: RwLock::new(map),
            suspect: Mutex::default(),
            is_suspect: AtomicBool::new(false),
            is_learning: AtomicBool::new(false),
            limit: Limit::default(),
        }
    }

    /// Whether another server may have what one no longer has.
    pub(super) fn is_fixed(&self) -> bool {
        self.question.is_none()
    }

    /// Whether a server is still one of those that are asked.
    pub(super) fn has(&self, node: &Node) -> bool {
        let map = self.map.read();
        map.as_ref().is_some_and(|map| map.nodes().any(|known| known.address == node.address))
    }

    pub(super) async fn map(&self, transport: &impl Transport, deadline: Instant) -> Answer<Arc<Map>> {
        let known = self.map.read().clone();
        match known {
            Some(map) if !self.is_suspect.load(Ordering::Relaxed) => Ok(map),
            Some(map) => Ok(self.learn_once(transport, deadline).await.unwrap_or(map)),
            None => self.learn(transport, deadline).await,
        }
    }

    /// Has it that the server did not answer in time.
    pub(super) fn suspect(&self, node: &Arc<Node>) {
        if !self.is_fixed() {
            *self.suspect.lock() = Some(Arc::clone(node));
            self.is_suspect.store(true, Ordering::Relaxed);
        }
    }

    /// Learns the map anew, unless somebody else is about to.
    pub(super) async fn learn_once(&self, transport: &impl Transport, deadline: Instant) -> Option<Arc<Map>> {
        if self.is_learning.swap(true, Ordering::Acquire) {
            return None;
        }
        let learning = Learning(&self.is_learning);
        let learnt = self.learn(transport, deadline).await;
        drop(learning);
        learnt.ok()
    }

    /// Learns the map anew.
    pub(super) async fn learn(&self, transport: &impl Transport, deadline: Instant) -> Answer<Arc<Map>> {
        let Some(question) = &self.question else {
            return self.map.read().clone().ok_or_else(|| DriverError::Failed("there is no server".into()));
        };
        self.is_suspect.store(false, Ordering::Relaxed);
        let asked = self.knowing();
        let mut failure = DriverError::Unavailable("no server is known".into());
        for (tried, node) in asked.iter().enumerate() {
            let share = Instant::now() + share(deadline, asked.len() - tried);
            match self.ask(transport, node, question, share).await {
                Ok(map) => {
                    let map = Arc::new(map);
                    *self.map.write() = Some(Arc::clone(&map));
                    *self.suspect.lock() = None;
                    self.forget_others(&map);
                    return Ok(map);
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// Who may know, those first of whom there is nothing to be feared.
    fn knowing(&self) -> Vec<Arc<Node>> {
        let suspect = self.suspect.lock().clone();
        let is_suspect =
            |node: &Node| suspect.as_ref().is_some_and(|suspect| suspect.address == node.address);
        let mut nodes: Vec<Arc<Node>> = Vec::new();
        // Sentinels know; the servers that they name do not.
        let known = if self.setup.only_master { None } else { self.map.read().clone() };
        for node in known.iter().flat_map(|map| map.nodes()).chain(&self.seeds) {
            if !nodes.iter().any(|there| there.address == node.address) {
                nodes.push(Arc::clone(node));
            }
        }
        nodes.sort_by_key(|node| is_suspect(node));
        nodes
    }

    async fn ask(
        &self,
        transport: &impl Transport,
        node: &Arc<Node>,
        question: &Cmd,
        deadline: Instant,
    ) -> Answer<Map> {
        let mut reply = only(transport.exchange(node, std::slice::from_ref(question), deadline).await?)?;
        if let (Value::ServerError(error), Some(authentication)) = (&reply, self.setup.authentication())
            && error.code() == "NOAUTH"
        {
            let commands = [authentication, question.clone()];
            reply = only(transport.exchange(node, &commands, deadline).await?)?;
        }
        self.read(&reply, node).ok_or_else(|| match reply {
            Value::Nil => DriverError::Unavailable("the sentinel knows no such master".into()),
            Value::Array(_) => DriverError::Unavailable("the cluster has no slots".into()),
            other => unexpected(&other),
        })
    }

    fn read(&self, reply: &Value, node: &Node) -> Option<Map> {
        if !self.setup.only_master {
            let Address::Tcp(asked) = &node.address else { return None };
            return Map::read(reply, asked, |endpoint| self.node_at(endpoint));
        }
        let Value::Array(parts) = reply else { return None };
        let [Value::BulkString(host), Value::BulkString(port)] = parts.as_slice() else { return None };
        let host = str::from_utf8(host).ok()?.to_owned();
        let port = str::from_utf8(port).ok()?.parse().ok()?;
        Some(Map::single(self.node_at(Endpoint { host, port })))
    }

    fn node_at(&self, endpoint: Endpoint) -> Arc<Node> {
        let mut nodes = self.nodes.lock();
        let node = nodes.entry(endpoint).or_insert_with_key(|endpoint| {
            Node::new(Address::Tcp(endpoint.clone()), Arc::clone(&self.setup))
        });
        Arc::clone(node)
    }

    fn forget_others(&self, map: &Map) {
        self.nodes.lock().retain(|_, known| map.nodes().any(|node| Arc::ptr_eq(node, known)));
    }

    /// The server that `node` says is to be asked instead, and whether that is for this once.
    pub(super) fn redirection(&self, error: &ServerError, node: &Node) -> Option<(Arc<Node>, bool)> {
        let once = match error.kind()? {
            ServerErrorKind::Ask => true,
            ServerErrorKind::Moved => false,
            _ => return None,
        };
        let Address::Tcp(asked) = &node.address else { return None };
        let (_slot, there) = error.details()?.split_once(' ')?;
        let (host, port) = there.rsplit_once(':')?;
        let endpoint = Endpoint { host: host_or(host, asked), port: port.parse().ok()? };
        Some((self.node_at(endpoint), once))
    }
}

/// That somebody learns the map, until it is dropped.
struct Learning<'a>(&'a AtomicBool);

impl Drop for Learning<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
