//! One server, and the connections to it.

use std::collections::VecDeque;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use std::{mem, thread};

use parking_lot::{Condvar, Mutex};
use redis::{Cmd, Value};

use super::super::driver::{Answer, DriverError};
use super::config::Address;
use super::link::{Broken, Link};
#[cfg(feature = "tokio")]
use super::multiplexed::Connections;
use super::reply::is_refused_as_full;
use super::setup::Setup;

/// How many blocking connections there are at most to one server. A thread has one while it asks, so that only
/// where very many ask at once some wait, and the server is not asked to keep any number of them.
const MOST: usize = 256;
/// So many of them are being made at once: a server takes a burst of new ones slowly, or not at all. Mostly one
/// that is given back is there sooner.
const MOST_IN_THE_MAKING: usize = 16;
/// A connection that nobody has needed for so long is closed when another is given back.
const KEPT: Duration = Duration::from_secs(60);
/// For how long no more are made once the server has refused one, as long as there are any.
const FULL: Duration = Duration::from_secs(1);

pub(super) struct Node {
    pub(super) address: Address,
    pub(super) setup: Arc<Setup>,
    pool: Mutex<Pool>,
    returned: Condvar,
    #[cfg(feature = "tokio")]
    pub(super) connections: Connections,
}

#[derive(Default)]
struct Pool {
    /// The one that was used last is at the end, each with the time of that.
    idle: VecDeque<(Link, Instant)>,
    /// Those in use, and those being made.
    borrowed: usize,
    in_the_making: usize,
    /// The server has refused one. Until then no more are made as long as there are any.
    full_until: Option<Instant>,
}

impl Pool {
    /// Whether there is none to be had now, for one who may have it made.
    fn is_exhausted(&self, may_be_made: bool) -> bool {
        let is_full = || !may_be_made || self.full_until.is_some_and(|until| Instant::now() < until);
        self.idle.is_empty()
            && (self.borrowed >= MOST
                || self.in_the_making >= MOST_IN_THE_MAKING
                || self.borrowed > 0 && is_full())
    }

    /// Keeps a connection, and returns one that is not needed.
    fn keep(&mut self, link: Link, now: Instant) -> Option<Link> {
        let is_needed = self.idle.front().is_none_or(|(_, used)| now < *used + KEPT);
        let unneeded = if is_needed { None } else { self.idle.pop_front() };
        self.idle.push_back((link, now));
        unneeded.map(|(link, _)| link)
    }
}

impl Node {
    pub(super) fn new(address: Address, setup: Arc<Setup>) -> Arc<Self> {
        Arc::new(Self {
            address,
            setup,
            pool: Mutex::default(),
            returned: Condvar::new(),
            #[cfg(feature = "tokio")]
            connections: Connections::default(),
        })
    }

    /// Sends commands and waits for their replies. A connection that was closed while it was idle is replaced,
    /// and the commands are sent again; so they may be done twice.
    pub(super) fn exchange(self: &Arc<Self>, commands: &[Cmd], deadline: Instant) -> Answer<Vec<Value>> {
        let borrowed = self.borrow(deadline)?;
        let was_idle = borrowed.was_idle;
        let broken = match borrowed.exchange(commands, deadline) {
            Ok(replies) => return Ok(replies),
            Err(broken) => broken,
        };
        if matches!(broken, Broken::Full(_)) && self.is_full() {
            return Ok(self.borrow_one(deadline, false)?.exchange(commands, deadline)?);
        }
        if was_idle {
            self.distrust_idle(&broken);
            if matches!(broken, Broken::Stale(_)) {
                match self.borrow(deadline) {
                    // What was sent may have been done.
                    Err(DriverError::Busy) => {}
                    another => return Ok(another?.exchange(commands, deadline)?),
                }
            }
        }
        Err(broken.into())
    }

    /// Closes what is idle: whatever closed one connection, or dropped its bytes on the way, most likely did
    /// that to the others too, and each would cost an operation to find out.
    pub(super) fn distrust_idle(&self, broken: &Broken) {
        if matches!(broken, Broken::Full(_)) {
            return;
        }
        let idle = mem::take(&mut self.pool.lock().idle);
        drop(idle);
    }

    /// Has it that the server takes no more connections. Returns whether there are any.
    fn is_full(&self) -> bool {
        let mut pool = self.pool.lock();
        pool.full_until = Some(Instant::now() + FULL);
        pool.borrowed > 0 || !pool.idle.is_empty()
    }

    /// An idle connection, or a new one; where the server refuses that, one of those that there are.
    pub(super) fn borrow(self: &Arc<Self>, deadline: Instant) -> Answer<Borrowed> {
        match self.borrow_one(deadline, true) {
            Err(error) if is_refused_as_full(&error) && self.is_full() => self.borrow_one(deadline, false),
            borrowed => borrowed,
        }
    }

    /// Who has to wait for one waits for half of the time: the server is to have the other half, or a reply that
    /// is late would say nothing of it.
    fn borrow_one(self: &Arc<Self>, deadline: Instant, may_be_made: bool) -> Answer<Borrowed> {
        let mut pool = self.pool.lock();
        if pool.is_exhausted(may_be_made) {
            let now = Instant::now();
            let until = now + deadline.saturating_duration_since(now) / 2;
            self.returned.wait_while_until(&mut pool, |pool| pool.is_exhausted(may_be_made), until);
            if pool.is_exhausted(may_be_made) {
                return Err(DriverError::Busy);
            }
        }
        pool.borrowed += 1;
        let idle = pool.idle.pop_back();
        if idle.is_none() {
            pool.in_the_making += 1;
            // One tries whether there is room again.
            pool.full_until = pool.full_until.map(|_| Instant::now() + FULL);
        }
        drop(pool);
        let place = Place { node: Arc::clone(self), is_filled: idle.is_some() };
        match idle {
            Some((link, _)) => Ok(Borrowed { link, was_idle: true, place }),
            None => connect(place, deadline),
        }
    }
}

/// A connection that nobody else uses. It is closed unless it is given back.
pub(super) struct Borrowed {
    pub(super) link: Link,
    was_idle: bool,
    place: Place,
}

impl Borrowed {
    fn exchange(mut self, commands: &[Cmd], deadline: Instant) -> Result<Vec<Value>, Broken> {
        let replies = self.link.exchange(commands, deadline)?;
        self.give_back();
        Ok(replies)
    }

    /// For others to use, if it is fit for that.
    pub(super) fn give_back(self) {
        if self.link.is_settled() {
            let mut pool = self.place.node.pool.lock();
            if !self.was_idle && !self.link.is_new {
                pool.full_until = None;
            }
            let unneeded = pool.keep(self.link, Instant::now());
            drop(pool);
            // It is closed without the lock.
            drop(unneeded);
        }
    }
}

/// One of the connections that there may be.
struct Place {
    node: Arc<Node>,
    /// It is not being made any more.
    is_filled: bool,
}

impl Place {
    fn fill(&mut self) {
        if !mem::replace(&mut self.is_filled, true) {
            self.node.pool.lock().in_the_making -= 1;
            self.node.returned.notify_one();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.fill();
        self.node.pool.lock().borrowed -= 1;
        self.node.returned.notify_one();
    }
}

/// Makes a connection on a thread of its own: looking up a name cannot be given up, and what takes longer
/// than one operation may wait is there for the next.
fn connect(mut place: Place, deadline: Instant) -> Answer<Borrowed> {
    let (tell, told) = mpsc::channel();
    let work = move || {
        let node = &place.node;
        let link = Link::connect(&node.address, &node.setup, Instant::now() + node.setup.connect_timeout);
        place.fill();
        let made = link.map(|link| Borrowed { link, was_idle: false, place });
        if let Err(mpsc::SendError(Ok(unwanted))) = tell.send(made) {
            unwanted.give_back();
        }
    };
    thread::Builder::new()
        .name("cached-redis".into())
        .spawn(work)
        .map_err(|error| DriverError::Unavailable(error.into()))?;
    told.recv_timeout(deadline.saturating_duration_since(Instant::now()))
        .unwrap_or(Err(DriverError::TimedOut))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpListener};

    use super::super::config::Endpoint;
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    /// One that takes connections, of which nobody says anything.
    fn node(password: Option<&str>) -> (TcpListener, Arc<Node>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let setup = Setup {
            user: None,
            password: password.map(Into::into),
            database: 0,
            only_master: false,
            connect_timeout: LONG,
            #[cfg(feature = "tls")]
            tls: None,
        };
        let address = Address::Tcp(Endpoint { host: "127.0.0.1".into(), port });
        (listener, Node::new(address, Arc::new(setup)))
    }

    #[test]
    fn who_waits_for_a_connection_of_others_is_told_so_or_gets_it() {
        let (listener, node) = node(None);
        let soon = Instant::now() + LONG;
        let borrow = || {
            let borrowed = node.borrow(soon).unwrap_or_else(|error| panic!("{error}"));
            listener.accept().expect("a connection");
            borrowed
        };
        let mut all: Vec<_> = (0..MOST).map(|_| borrow()).collect();
        assert!(matches!(node.borrow(Instant::now()), Err(DriverError::Busy)));
        thread::scope(|scope| {
            let waiting = scope.spawn(|| node.borrow(soon).map(|borrowed| borrowed.was_idle));
            all.pop().into_iter().for_each(Borrowed::give_back);
            assert!(waiting.join().expect("no panic").expect("a connection"));
        });
        // That one was not given back.
        drop(borrow());
        drop(all);
        let pool = node.pool.lock();
        assert_eq!((pool.borrowed, pool.in_the_making, pool.idle.len()), (0, 0, 0));
    }

    #[test]
    fn where_a_server_takes_no_more_connections_those_that_there_are_are_waited_for() {
        for password in [None, Some("p")] {
            let (listener, node) = node(password);
            let soon = Instant::now() + LONG;
            let accept = |reply: &str| {
                let (mut stream, _) = listener.accept().expect("a connection");
                assert!(stream.read(&mut [0; 256]).expect("a command") > 0);
                stream.write_all(reply.as_bytes()).expect("it is read");
                stream
            };
            let get = [redis::cmd("GET")];
            thread::scope(|scope| {
                let first = scope.spawn(|| node.borrow(soon));
                let made = password.map(|_| accept("+OK\r\n"));
                let first = first.join().expect("no panic").unwrap_or_else(|error| panic!("{error}"));
                let mut stream = made.unwrap_or_else(|| listener.accept().expect("a connection").0);
                let second = scope.spawn(|| node.exchange(&get, soon));
                // While the first has the only connection.
                drop(accept("-ERR max number of clients reached\r\n"));
                first.give_back();
                stream.write_all(b"$-1\r\n").expect("it is read");
                let replies = second.join().expect("no panic").unwrap_or_else(|error| panic!("{error}"));
                assert_eq!(replies, [Value::Nil]);
            });
            let pool = node.pool.lock();
            assert_eq!((pool.borrowed, pool.in_the_making, pool.idle.len()), (0, 0, 1));
        }
    }

    #[test]
    fn a_burst_of_connections_is_made_a_few_at_a_time() {
        let (listener, node) = node(Some("p"));
        for _ in 0..MOST_IN_THE_MAKING {
            assert!(matches!(node.borrow(Instant::now()), Err(DriverError::TimedOut)));
        }
        assert!(matches!(node.borrow(Instant::now()), Err(DriverError::Busy)));
        // Closes those that wait for it.
        drop(listener);
        let answer = node.borrow(Instant::now() + LONG);
        assert!(matches!(answer, Err(DriverError::Unavailable(_))), "it may make one again");
    }

    #[test]
    fn a_connection_that_nobody_needs_for_long_is_closed() {
        let (_listener, node) = node(None);
        let now = Instant::now();
        let link = || node.borrow(now + LONG).unwrap_or_else(|error| panic!("{error}")).link;
        let mut pool = Pool::default();
        assert!(pool.keep(link(), now).is_none());
        assert!(pool.keep(link(), now + KEPT / 2).is_none());
        assert!(pool.keep(link(), now + KEPT).is_some());
        assert!(pool.keep(link(), now + KEPT).is_none());
        assert_eq!(pool.idle.len(), 3);
    }
}
