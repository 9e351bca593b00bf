//! Which server is asked for what, and what becomes of what they answer.

use std::sync::Arc;
use std::time::Instant;

use super::node::{Node, found_in};
use super::protocol::Body;
use super::rendezvous;
use super::request::{Failure, Request};
use crate::backend::driver::{Answer, DriverError, Found};

/// So many bytes of commands are sent to all servers together before their answers are read. They fit into
/// what the system holds of a connection, so that neither end waits for the other to read.
const MOST_SENT: usize = 32 * 1024;

/// The servers that there are at a time.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    all: Vec<Arc<Node>>,
    seeds: Vec<u64>,
}

impl Nodes {
    pub(super) fn new(all: Vec<Arc<Node>>) -> Self {
        Self { seeds: all.iter().map(|node| node.seed).collect(), all }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.all.iter()
    }

    /// Those of all servers, sorted.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.all.iter().map(|node| node.server.to_string()).collect();
        names.sort();
        names
    }

    /// Which server to ask for a key. If none is up, the one that it should be on is asked all the same.
    fn choose(&self, key: &str, failed: &[usize], now: Instant) -> Answer<usize> {
        let is_left = |index: usize| !failed.contains(&index);
        rendezvous::choose(key, &self.seeds, |index| is_left(index) && self.all[index].is_good(now))
            .or_else(|| rendezvous::choose(key, &self.seeds, is_left))
            .ok_or_else(|| DriverError::Unavailable("there is no server".into()))
    }
}

/// The way of one key: to the server that it is on or, if no connection to that can be had, to the next.
pub(super) struct Way<'n> {
    nodes: &'n Nodes,
    failed: Vec<usize>,
}

impl<'n> Way<'n> {
    pub(super) fn new(nodes: &'n Nodes) -> Self {
        Self { nodes, failed: Vec::new() }
    }

    pub(super) fn next(&mut self, key: &str) -> Answer<&'n Arc<Node>> {
        let index = self.nodes.choose(key, &self.failed, Instant::now())?;
        self.failed.push(index);
        Ok(&self.nodes.all[index])
    }

    /// What the server answered; nothing if the next is to be asked.
    pub(super) fn answer(&self, node: &Node, result: Result<Vec<Body>, Failure>) -> Option<Answer<Body>> {
        node.note(&result);
        match result {
            Ok(bodies) => bodies.into_iter().next().map(Ok),
            Err(Failure::Unreachable(_)) if self.failed.len() < self.nodes.all.len() => None,
            Err(failure) => Some(Err(failure.into())),
        }
    }
}

/// Keys that are on one server, by their places among all.
pub(super) struct Group<'n> {
    index: usize,
    pub(super) node: &'n Arc<Node>,
    /// In which of its lives the server is asked.
    life: u16,
    places: Vec<usize>,
}

impl Group<'_> {
    pub(super) fn request<K: AsRef<str>>(&self, keys: &[K]) -> Request {
        Request::get(self.places.iter().map(|place| keys[*place].as_ref()))
    }
}

/// What was found of several keys so far, and what went wrong.
pub(super) struct Gathering<'n> {
    nodes: &'n Nodes,
    found: Vec<Option<Found>>,
    /// Places of keys that are not answered yet.
    waiting: Vec<usize>,
    /// Servers to which no connection can be had.
    failed: Vec<usize>,
    error: Option<DriverError>,
}

impl<'n> Gathering<'n> {
    pub(super) fn new(nodes: &'n Nodes, count: usize) -> Self {
        let waiting = (0..count).collect();
        Self { nodes, found: vec![None; count], waiting, failed: Vec::new(), error: None }
    }

    /// Which servers to ask now for which keys: for as many as may be asked together. None when there is
    /// nothing left to ask.
    pub(super) fn next<K: AsRef<str>>(&mut self, keys: &[K]) -> Answer<Vec<Group<'n>>> {
        if self.error.is_some() {
            return Ok(Vec::new());
        }
        let mut bytes = 0;
        let fits = |place: &&usize| {
            bytes += keys[**place].as_ref().len() + 24;
            bytes <= MOST_SENT
        };
        let count = self.waiting.iter().take_while(fits).count();
        let now = Instant::now();
        let mut groups: Vec<Group<'n>> = Vec::with_capacity(self.nodes.all.len().min(count));
        for place in self.waiting.drain(..count) {
            let index = self.nodes.choose(keys[place].as_ref(), &self.failed, now)?;
            if let Some(group) = groups.iter_mut().find(|group| group.index == index) {
                group.places.push(place);
            } else {
                let node = &self.nodes.all[index];
                groups.push(Group { index, node, life: node.life(), places: vec![place] });
            }
        }
        Ok(groups)
    }

    /// Takes what a server answered, or did not. Keys that it could not be asked for go on to the next, if
    /// there is one.
    pub(super) fn take(&mut self, group: Group<'n>, result: Result<Vec<Body>, Failure>) {
        // Where one server was waited for until the deadline, the others had no time to be read.
        if !matches!((&result, &self.error), (Err(Failure::TimedOut), Some(DriverError::TimedOut))) {
            group.node.note(&result);
        }
        match result {
            Ok(bodies) => {
                for (place, body) in group.places.into_iter().zip(bodies) {
                    match found_in(group.life, body) {
                        Ok(found) => self.found[place] = found,
                        Err(error) => self.error = Some(error),
                    }
                }
            }
            Err(Failure::Unreachable(_)) if self.failed.len() + 1 < self.nodes.all.len() => {
                self.failed.push(group.index);
                self.waiting.extend(group.places);
            }
            Err(failure) => self.error = Some(failure.into()),
        }
    }

    pub(super) fn finish(self) -> Answer<Vec<Option<Found>>> {
        self.error.map_or(Ok(self.found), Err)
    }
}
