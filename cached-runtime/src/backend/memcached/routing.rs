//! Which server is asked for what, and what becomes of what they answer.

use std::sync::Arc;

use smallvec::{SmallVec, smallvec};

use super::health::Begun;
use super::node::{Item, Life, Node};
use super::protocol::Body;
use super::rendezvous;
use super::request::{Failure, Request, marked};
use crate::backend::driver::{Answer, DriverError, Found};

/// So many bytes of commands are sent to all servers together before their answers are read. They fit into
/// what the system holds of a connection, so that neither end waits for the other to read.
const MOST_SENT: usize = 32 * 1024;

/// Several, and mostly one, as of one key on one server.
pub(super) type Several<T> = SmallVec<[T; 1]>;

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

    /// Which server to ask for a key, and in the place of which others. If none is up, the one that it should
    /// be on is asked all the same.
    fn choose(&self, key: &str, failed: &[usize]) -> Answer<(usize, Vec<usize>)> {
        let is_left = |index: usize| !failed.contains(&index);
        let choose = |is_good: &dyn Fn(usize) -> bool| {
            let mut passed = Vec::new();
            let index = rendezvous::choose(key, &self.seeds, |index| {
                let is_good = is_good(index);
                if !is_good {
                    passed.push(index);
                }
                is_good
            });
            index.map(|index| (index, passed))
        };
        choose(&|index| is_left(index) && self.all[index].is_good())
            .or_else(|| choose(&is_left))
            .ok_or_else(|| DriverError::Unavailable("there is no server".into()))
    }

    /// Those that are up, but for one: what they have of its keys is from when it was away.
    pub(super) fn others(&self, node: &Arc<Node>) -> impl Iterator<Item = &Arc<Node>> {
        self.all.iter().filter(move |other| !Arc::ptr_eq(other, node) && other.is_good())
    }

    /// Notes how an operation of a server went. While it is down, others are used in its place.
    pub(super) fn note<T>(&self, node: &Node, begun: Begun, result: &Result<T, Failure>) {
        if node.note(begun, result) && self.all.len() > 1 {
            node.absences.add();
        }
    }
}

/// The way of one key: to the server that it is on or, if no connection to that can be had, to the next.
pub(super) struct Way<'n> {
    nodes: &'n Nodes,
    failed: Vec<usize>,
    /// Servers in whose place another one is asked.
    passed: Vec<usize>,
}

impl<'n> Way<'n> {
    pub(super) fn new(nodes: &'n Nodes) -> Self {
        Self { nodes, failed: Vec::new(), passed: Vec::new() }
    }

    /// The server to ask, and that this is begun now.
    pub(super) fn next(&mut self, key: &str) -> Answer<(&'n Arc<Node>, Begun)> {
        let (index, passed) = self.nodes.choose(key, &self.failed)?;
        self.failed.push(index);
        self.passed = passed;
        let node = &self.nodes.all[index];
        Ok((node, node.health.begin()))
    }

    /// What the server answered; nothing if the next is to be asked.
    pub(super) fn answer(
        &self,
        node: &Node,
        begun: Begun,
        result: Result<Vec<Body>, Failure>,
    ) -> Option<Answer<Body>> {
        self.nodes.note(node, begun, &result);
        for index in &self.passed {
            // It may have come back while this was written elsewhere.
            self.nodes.all[*index].absences.add();
        }
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
    begun: Begun,
    /// In which of its lives the server is asked; absent if it was away, and is first to be asked for a mark.
    life: Option<Life>,
    places: Several<usize>,
}

/// Items from before a server was away, which are to be removed.
pub(super) struct Old<'n> {
    pub(super) node: &'n Arc<Node>,
    begun: Begun,
    /// What they are below.
    floor: u64,
}

impl Group<'_> {
    pub(super) fn request<K: AsRef<str>>(&self, keys: &[K]) -> Request {
        Request::get(self.places.iter().map(|place| keys[*place].as_ref()))
    }

    pub(super) fn was_away(&self) -> bool {
        self.life.is_none()
    }
}

/// What was found of several keys so far, and what went wrong.
pub(super) struct Gathering<'n> {
    nodes: &'n Nodes,
    found: Vec<Option<Found>>,
    /// Places of keys that are not answered yet.
    waiting: Several<usize>,
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
    pub(super) fn next<K: AsRef<str>>(&mut self, keys: &[K]) -> Answer<Several<Group<'n>>> {
        if self.error.is_some() {
            return Ok(SmallVec::new());
        }
        let mut bytes = 0;
        let fits = |place: &&usize| {
            bytes += keys[**place].as_ref().len() + 24;
            bytes <= MOST_SENT
        };
        let count = self.waiting.iter().take_while(fits).count();
        let mut groups: Several<Group<'n>> = SmallVec::new();
        for place in self.waiting.drain(..count) {
            let (index, _) = self.nodes.choose(keys[place].as_ref(), &self.failed)?;
            if let Some(group) = groups.iter_mut().find(|group| group.index == index) {
                group.places.push(place);
            } else {
                let node = &self.nodes.all[index];
                let begun = node.health.begin();
                groups.push(Group {
                    index,
                    node,
                    begun,
                    life: node.known_life().ok(),
                    places: smallvec![place],
                });
            }
        }
        Ok(groups)
    }

    /// The keys are asked for again, if the server's life is known now.
    pub(super) fn welcome(&mut self, group: Group<'n>, life: Result<Life, Failure>) {
        let life = if life.is_ok() { life } else { self.noted(group.node, group.begun, life) };
        match life {
            Ok(_) => self.waiting.extend(group.places),
            Err(failure) => self.failed(group, failure),
        }
    }

    /// Takes what a server answered, or did not. Keys that it could not be asked for go on to the next, if
    /// there is one. What is from before it was away counts as absent, and is to be removed.
    pub(super) fn take<K: AsRef<str>>(
        &mut self,
        group: Group<'n>,
        keys: &[K],
        result: Result<Vec<Body>, Failure>,
    ) -> Option<(Old<'n>, Request)> {
        let bodies = match self.noted(group.node, group.begun, result) {
            Ok(bodies) => bodies,
            Err(failure) => {
                self.failed(group, failure);
                return None;
            }
        };
        let life = group.life?;
        let mut old = Vec::new();
        for (place, body) in group.places.into_iter().zip(bodies) {
            match life.item(body) {
                Ok(Item::Present(found)) => self.found[place] = Some(found),
                Ok(Item::Nothing) => {}
                Ok(Item::Old(cas)) => old.push((keys[place].as_ref(), cas)),
                Err(error) => self.error = Some(error),
            }
        }
        let request = (!old.is_empty()).then(|| Request::mark(old.into_iter()));
        let (node, begun) = (group.node, group.node.health.begin());
        request.map(|request| (Old { node, begun, floor: life.floor }, request))
    }

    /// Takes what a server answered that was to remove something.
    pub(super) fn removed(&mut self, old: &Old<'_>, result: Result<Vec<Body>, Failure>) {
        match self.noted(old.node, old.begun, result).and_then(marked) {
            Ok(reached) => old.node.absences.has_reached(reached, old.floor),
            Err(failure) => self.error = Some(failure.into()),
        }
    }

    fn noted<T>(&self, node: &Node, begun: Begun, result: Result<T, Failure>) -> Result<T, Failure> {
        // Where one server was waited for until the deadline, the others had no time to be read.
        if !matches!((&result, &self.error), (Err(Failure::TimedOut), Some(DriverError::TimedOut))) {
            self.nodes.note(node, begun, &result);
        }
        result
    }

    fn failed(&mut self, group: Group<'n>, failure: Failure) {
        if matches!(failure, Failure::Unreachable(_)) && self.failed.len() + 1 < self.nodes.all.len() {
            self.failed.push(group.index);
            self.waiting.extend(group.places);
        } else {
            self.error = Some(failure.into());
        }
    }

    pub(super) fn finish(self) -> Answer<Vec<Option<Found>>> {
        self.error.map_or(Ok(self.found), Err)
    }
}
