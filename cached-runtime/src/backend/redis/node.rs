//! One server, and the connections to it.

use std::sync::{Arc, mpsc};
use std::time::Instant;
use std::{mem, thread};

use parking_lot::{Condvar, Mutex};
use redis::{Cmd, Value};

use super::super::driver::{Answer, DriverError};
use super::config::Address;
use super::link::{Broken, Link};
#[cfg(feature = "tokio")]
use super::multiplexed::Connections;
use super::setup::Setup;

/// How many blocking connections there are at most to one server. More would only wait for each other there.
const MOST: usize = 32;

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
    /// The one that was used last is at the end.
    idle: Vec<Link>,
    /// Those in use, and those being made.
    borrowed: usize,
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
        let mut borrowed = self.borrow(deadline)?;
        let mut answer = borrowed.link.exchange(commands, deadline);
        if let Err(broken) = &answer
            && borrowed.was_idle
        {
            self.distrust_idle();
            if matches!(broken, Broken::Stale(_)) {
                borrowed = self.borrow(deadline)?;
                answer = borrowed.link.exchange(commands, deadline);
            }
        }
        let replies = answer?;
        borrowed.give_back();
        Ok(replies)
    }

    /// Closes what is idle: whatever closed one connection, or dropped its bytes on the way, most likely did
    /// that to the others too, and each would cost an operation to find out.
    pub(super) fn distrust_idle(&self) {
        let idle = mem::take(&mut self.pool.lock().idle);
        drop(idle);
    }

    /// An idle connection, or a new one.
    pub(super) fn borrow(self: &Arc<Self>, deadline: Instant) -> Answer<Borrowed> {
        let mut pool = self.pool.lock();
        while pool.idle.is_empty() && pool.borrowed >= MOST {
            if self.returned.wait_until(&mut pool, deadline).timed_out() {
                return Err(DriverError::TimedOut);
            }
        }
        pool.borrowed += 1;
        let idle = pool.idle.pop();
        drop(pool);
        let place = Place(Arc::clone(self));
        match idle {
            Some(link) => Ok(Borrowed { link, was_idle: true, place }),
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
    /// For others to use, if it is fit for that.
    pub(super) fn give_back(self) {
        if self.link.is_settled() {
            self.place.0.pool.lock().idle.push(self.link);
        }
    }
}

/// One of the connections that there may be.
struct Place(Arc<Node>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.pool.lock().borrowed -= 1;
        self.0.returned.notify_one();
    }
}

/// Makes a connection on a thread of its own: looking up a name cannot be given up, and what takes longer
/// than one operation may wait is there for the next.
fn connect(place: Place, deadline: Instant) -> Answer<Borrowed> {
    let (tell, told) = mpsc::channel();
    let work = move || {
        let node = &place.0;
        let link = Link::connect(&node.address, &node.setup, Instant::now() + node.setup.connect_timeout);
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
