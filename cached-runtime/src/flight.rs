//! Flights: one running computation of one key, with those who wait for it.
//!
//! A flight ends in one of two ways: it lands, with something for those who wait or with nothing, or
//! it is lost, when the body panicked or its future was dropped. Waiting threads and tasks share one
//! state; only how they sleep differs.
//!
//! A future may also be kept and never polled again. The leader's future is therefore polled with the
//! flight itself as its waker: a leader that was woken and is not polled for [`STALLED`] is given up,
//! and those who wait go on. A body that is being polled, or is not woken, is at work, however long it
//! takes. One that was left to a runtime which may be idle, as nobody is there for its sake, is woken by those who
//! begin to wait.

use std::any::Any;
#[cfg(feature = "backend")]
use std::collections::HashSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use once_cell::sync::OnceCell;

use crate::circle::{self, Course};
use crate::clock::{self, Moment, NEVER, nanoseconds};
use crate::shim::{AtomicBool, AtomicU64, Condvar, Mutex};
use crate::store::any::{AnyKey, KeyRef};
use crate::store::janitor;
use crate::wakers::Wakers;

/// What is delivered to those who wait: the function knows its type.
pub(crate) type Delivered = Box<dyn Any + Send + Sync>;

/// What became of a flight.
pub(crate) enum Ending {
    /// The body returned; where there is nothing to share, those who waited go on on their own.
    Landed(Option<Delivered>),
    /// The body panicked or was dropped; one of those who waited takes its place.
    Lost,
}

/// How long a leader that was woken may take to be polled. Only a program that has forgotten about it,
/// or is hopelessly late, takes as long.
const STALLED: Duration = Duration::from_millis(500);

/// What the leader does, where it is not the moment at which it was woken.
const AT_WORK: Moment = NEVER;
const POLLED: Moment = NEVER - 1;
const POLLED_AND_WOKEN: Moment = NEVER - 2;

/// See the module.
pub(crate) struct Flight {
    ending: OnceCell<Ending>,
    /// Whether anybody has waited for it.
    is_awaited: AtomicBool,
    /// Whether its leader may be where nobody polls it.
    is_left: AtomicBool,
    tasks: Mutex<Tasks>,
    landed: Condvar,
    /// When the leader was woken, if it was not polled since; else what it does.
    woken: AtomicU64,
    /// Whether the janitor will see if the leader has stalled.
    is_watched: AtomicBool,
}

#[derive(Default)]
struct Tasks {
    /// The leader's.
    leader: Option<Arc<Waker>>,
    /// Those that wait, by a number that each got when it first did.
    waiting: Wakers<u64>,
    next: u64,
}

impl Flight {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            ending: OnceCell::new(),
            is_awaited: AtomicBool::new(false),
            is_left: AtomicBool::new(false),
            tasks: Mutex::default(),
            landed: Condvar::new(),
            woken: AtomicU64::new(AT_WORK),
            is_watched: AtomicBool::new(false),
        })
    }

    /// Ends the flight, once, for those who wait. Its leader may have more to do, and is still woken through it.
    pub(crate) fn end(&self, ending: Ending) {
        if self.ending.set(ending).is_ok() {
            let waiting = std::mem::take(&mut self.tasks.lock().waiting);
            self.landed.notify_all();
            waiting.wake_all();
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ending.get().is_some()
    }

    pub(crate) fn is_awaited(&self) -> bool {
        self.is_awaited.load(Acquire)
    }

    /// Sleeps until the flight has ended.
    pub(crate) fn wait(&self) -> &Ending {
        let mut tasks = self.tasks.lock();
        loop {
            if let Some(ending) = self.ending.get() {
                return ending;
            }
            self.landed.wait(&mut tasks);
        }
    }

    /// The same until a moment.
    pub(crate) fn wait_until(&self, moment: Instant) -> Option<&Ending> {
        let mut tasks = self.tasks.lock();
        while self.ending.get().is_none() && Instant::now() < moment {
            let _ = self.landed.wait_until(&mut tasks, moment);
        }
        self.ending.get()
    }

    /// The same as [`wait`](Self::wait) for a task.
    pub(crate) fn ended(self: &Arc<Self>) -> Ended<'_> {
        Ended { flight: self, number: None }
    }

    /// A waker's clone and drop are foreign code: neither runs under the lock, here and below.
    fn remember(&self, leader: &Waker) {
        let is_known = |tasks: &Tasks| tasks.leader.as_ref().is_some_and(|it| it.will_wake(leader));
        if !is_known(&self.tasks.lock()) {
            let leader = Arc::new(leader.clone());
            let old = self.tasks.lock().leader.replace(leader);
            drop(old);
        }
    }

    /// When the leader will have stalled, unless it is polled before.
    fn stalls(&self) -> Option<Moment> {
        let woken = self.woken.load(Acquire);
        (woken < POLLED_AND_WOKEN).then(|| woken.saturating_add(nanoseconds(STALLED)))
    }
}

/// However the poll ends.
struct EndsPoll<'a>(&'a Arc<Flight>);

impl Drop for EndsPoll<'_> {
    fn drop(&mut self) {
        let woken = &self.0.woken;
        if woken.compare_exchange(POLLED, AT_WORK, AcqRel, Acquire).is_err() {
            woken.store(clock::now(), Release);
            self.0.watch();
        }
    }
}

impl Flight {
    /// Polls the leader's body, which wakes the leader through the flight.
    pub(crate) fn poll<F: Future>(
        self: &Arc<Self>,
        course: &Course,
        waker: &Waker,
        body: Pin<&mut F>,
        context: &Context<'_>,
    ) -> Poll<F::Output> {
        let _ends = self.begin_poll();
        self.remember(context.waker());
        let _entered = circle::enter(course.clone());
        body.poll(&mut Context::from_waker(waker))
    }

    fn begin_poll(self: &Arc<Self>) -> EndsPoll<'_> {
        self.woken.store(POLLED, Release);
        EndsPoll(self)
    }

    /// The leader is to be polled.
    fn is_woken(self: &Arc<Self>) {
        if self.woken.compare_exchange(AT_WORK, clock::now(), AcqRel, Acquire).is_err() {
            let _ = self.woken.compare_exchange(POLLED, POLLED_AND_WOKEN, AcqRel, Acquire);
        }
        self.watch();
    }

    /// Its leader is in a task for which nobody waits, on a runtime that may be idle.
    pub(crate) fn is_left(self: &Arc<Self>) {
        self.is_left.store(true, Release);
        let is_awaited = !self.tasks.lock().waiting.is_empty();
        if is_awaited {
            self.wake_by_ref();
        }
    }

    fn wake_leader(&self) {
        let leader = self.tasks.lock().leader.clone();
        if let Some(leader) = leader {
            leader.wake_by_ref();
        }
    }

    /// Sees to it that somebody looks if the leader stalls while others wait.
    fn watch(self: &Arc<Self>) {
        if let Some(moment) = self.stalls()
            && !self.tasks.lock().waiting.is_empty()
            && !self.is_watched.swap(true, AcqRel)
        {
            janitor::call_at(moment, Arc::downgrade(self) as Weak<dyn Watched>);
        }
    }
}

/// What the janitor looks at when a moment has come.
pub(crate) trait Watched: Send + Sync {
    /// Returns when to look again.
    fn look(&self, now: Moment) -> Option<Moment>;
}

impl Watched for Flight {
    fn look(&self, now: Moment) -> Option<Moment> {
        self.is_watched.store(false, Release);
        let stalls = self.stalls().filter(|_| !self.has_ended())?;
        if stalls <= now {
            self.end(Ending::Lost);
            return None;
        }
        self.is_watched.store(true, Release);
        Some(stalls)
    }
}

/// The leader is to be polled.
impl Wake for Flight {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_woken();
        self.wake_leader();
    }
}

/// Flights that have one body. They end one after another, so that none of them knows the leader.
pub(crate) struct Together {
    flights: Vec<Arc<Flight>>,
    leader: Mutex<Option<Arc<Waker>>>,
}

impl Together {
    pub(crate) fn of(flights: Vec<Arc<Flight>>) -> Arc<Self> {
        Arc::new(Self { flights, leader: Mutex::default() })
    }

    /// [`Flight::poll`] for all of them.
    pub(crate) fn poll<F: Future>(
        self: &Arc<Self>,
        course: &Course,
        body: Pin<&mut F>,
        context: &Context<'_>,
    ) -> Poll<F::Output> {
        let _end: Vec<_> = self.flights.iter().map(Flight::begin_poll).collect();
        let leader = Arc::new(context.waker().clone());
        let old = self.leader.lock().replace(leader);
        drop(old);
        let _entered = circle::enter(course.clone());
        body.poll(&mut Context::from_waker(&Waker::from(Arc::clone(self))))
    }
}

impl Wake for Together {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.flights.iter().for_each(Flight::is_woken);
        let leader = self.leader.lock().clone();
        if let Some(leader) = leader {
            leader.wake_by_ref();
        }
    }
}

/// A future that is ready when the flight has ended, or is given up. Dropping it affects nobody else.
pub(crate) struct Ended<'a> {
    flight: &'a Arc<Flight>,
    number: Option<u64>,
}

impl<'a> Future for Ended<'a> {
    type Output = &'a Ending;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let flight = self.flight;
        let waker = context.waker().clone();
        let mut tasks = flight.tasks.lock();
        if let Some(ending) = flight.ending.get() {
            return Poll::Ready(ending);
        }
        let is_new = self.number.is_none();
        let number = *self.number.get_or_insert_with(|| {
            tasks.next += 1;
            tasks.next
        });
        let old = tasks.waiting.insert(number, waker);
        drop(tasks);
        drop(old);
        if is_new && flight.is_left.load(Acquire) {
            flight.wake_by_ref();
        } else {
            flight.watch();
        }
        Poll::Pending
    }
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        let own = self.flight.tasks.lock().waiting.remove(number);
        drop(own);
    }
}

/// The computations of one shard of a table that are running.
///
/// A computation is known here from before its body begins until its value is stored. Where that is to
/// be forgotten, by an invalidation for instance, it is fenced: its value goes to its callers alone, and
/// whoever calls from then on does not wait for it.
#[derive(Default)]
pub(crate) struct Flights {
    /// All of them, while they are few.
    few: Vec<Running>,
    /// Else by their hashes, in a power of two of lists.
    many: Vec<Vec<Running>>,
    len: usize,
    /// While entries of whatever key are loaded.
    #[cfg(feature = "backend")]
    loading: Option<Box<Loading>>,
}

/// What is not to be loaded any more: it was fenced since.
#[cfg(feature = "backend")]
#[derive(Default)]
struct Loading {
    /// How many are loading.
    loads: usize,
    hashes: HashSet<u64>,
    is_all: bool,
}

/// The most in a list, in the mean.
const FEW: usize = 8;

/// Whether a key is the one that is meant: one type for all who ask, so that they share the code.
pub(crate) type IsKey<'a> = &'a dyn Fn(KeyRef<'_>) -> bool;

struct Running {
    hash: u64,
    key: AnyKey,
    /// Of the computation.
    number: u64,
    /// Of the course that it is, or is a part of.
    course: u64,
    /// Not there until somebody needs it.
    flight: Option<Arc<Flight>>,
    audience: Audience,
    fenced: bool,
    /// Whether it is yet to begin, in the background.
    queued: bool,
}

/// Who may wait for a computation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Audience {
    Nobody,
    All,
    /// Those who have an old value: it is computed aside, and not known here whether others have one.
    #[cfg_attr(not(feature = "backend"), expect(dead_code, reason = "without backends it is known"))]
    Holders,
}

impl Running {
    /// Whether it is for others too.
    fn is_shared(&self) -> bool {
        // A flight that was given up is the first caller's alone.
        let has_ended = self.flight.as_ref().is_some_and(|flight| flight.has_ended());
        self.audience != Audience::Nobody && !self.fenced && !has_ended
    }

    fn join(&mut self) -> (Arc<Flight>, u64) {
        let flight = self.flight.get_or_insert_with(Flight::new);
        flight.is_awaited.store(true, Release);
        (Arc::clone(flight), self.course)
    }

    /// Nobody waits for what may never begin: if it did not, for want of threads, all that wait might be those
    /// whose threads it would need.
    fn can_be_joined(&self) -> bool {
        self.is_shared() && !self.queued && self.audience == Audience::All
    }
}

/// What is left of a computation that has run.
pub(crate) struct Finished {
    pub(crate) key: AnyKey,
    /// There if anybody needed it.
    pub(crate) flight: Option<Arc<Flight>>,
    pub(crate) fenced: bool,
}

impl Flights {
    /// The list that those of this hash are in.
    fn list(&mut self, hash: u64) -> &mut Vec<Running> {
        let lists = self.many.len();
        if lists == 0 { &mut self.few } else { &mut self.many[(hash & 0xffff_ffff) as usize & (lists - 1)] }
    }

    fn find(&mut self, hash: u64, is_it: &dyn Fn(&Running) -> bool) -> Option<&mut Running> {
        self.list(hash).iter_mut().find(|it| it.hash == hash && is_it(it))
    }

    fn numbered(&mut self, hash: u64, number: u64) -> Option<&mut Running> {
        self.find(hash, &|it| it.number == number)
    }

    /// The computation of this key that can be waited for, and the number of its course; it will be waited for.
    pub(crate) fn join(&mut self, hash: u64, is_key: IsKey<'_>) -> Option<(Arc<Flight>, u64)> {
        Some(self.find(hash, &|it| it.can_be_joined() && is_key(it.key.view()))?.join())
    }

    /// The same for who does not wait for long, also if it has not begun.
    pub(crate) fn join_for_now(&mut self, hash: u64, is_key: IsKey<'_>) -> Option<(Arc<Flight>, u64)> {
        Some(self.find(hash, &|it| it.is_shared() && is_key(it.key.view()))?.join())
    }

    /// The same of the computation of this number.
    pub(crate) fn join_number(&mut self, hash: u64, number: u64) -> Option<(Arc<Flight>, u64)> {
        Some(self.numbered(hash, number)?.join())
    }

    /// Whether somebody computes this key for others too, or is going to.
    pub(crate) fn is_running(&mut self, hash: u64, is_key: IsKey<'_>) -> bool {
        self.find(hash, &|it| it.is_shared() && is_key(it.key.view())).is_some()
    }

    /// Whether this key is computed as a part of that course.
    pub(crate) fn runs_within(&mut self, course: u64, hash: u64, is_key: IsKey<'_>) -> bool {
        self.find(hash, &|it| it.course == course && it.is_shared() && is_key(it.key.view())).is_some()
    }

    /// Begins the computation of this number, which may be a part of a course.
    pub(crate) fn begin_within(&mut self, course: u64, hash: u64, key: AnyKey, number: u64, shared: bool) {
        let audience = if shared { Audience::All } else { Audience::Nobody };
        self.add(Running { hash, key, number, course, flight: None, audience, fenced: false, queued: false });
    }

    /// Registers one that somebody else will begin.
    pub(crate) fn enqueue(&mut self, hash: u64, key: AnyKey, number: u64) {
        let (course, audience) = (number, Audience::All);
        self.add(Running { hash, key, number, course, flight: None, audience, fenced: false, queued: true });
    }

    /// The key of a computation.
    pub(crate) fn key(&mut self, hash: u64, number: u64) -> Option<KeyRef<'_>> {
        Some(self.numbered(hash, number)?.key.view())
    }

    /// Whether it is still to begin.
    pub(crate) fn is_queued(&mut self, hash: u64, number: u64) -> bool {
        self.numbered(hash, number).is_some_and(|it| it.queued && !it.fenced)
    }

    /// Begins the one that was registered, unless it is not to begin any more.
    pub(crate) fn resume(&mut self, hash: u64, number: u64, is_key: IsKey<'_>) -> bool {
        let running =
            self.numbered(hash, number).filter(|it| it.queued && !it.fenced && is_key(it.key.view()));
        running.map(|it| it.queued = false).is_some()
    }

    /// Takes away the one that is registered for this key and has not begun.
    pub(crate) fn overtake(&mut self, hash: u64, is_key: IsKey<'_>) -> Option<Finished> {
        let number = self.find(hash, &|it| it.queued && is_key(it.key.view()))?.number;
        self.finish(hash, number)
    }

    fn add(&mut self, running: Running) {
        if self.len >= FEW * self.many.len().max(1) {
            self.spread();
        } else if self.few.capacity() == 0 {
            self.few.reserve_exact(1);
        }
        self.len += 1;
        self.list(running.hash).push(running);
    }

    /// Spreads them over more lists.
    #[cold]
    fn spread(&mut self) {
        let lists = (2 * self.many.len()).max(FEW);
        let mut old = std::mem::take(&mut self.many);
        old.push(std::mem::take(&mut self.few));
        self.many.resize_with(lists, Vec::new);
        for list in &mut old {
            while let Some(running) = list.pop() {
                self.list(running.hash).push(running);
            }
        }
    }

    /// The flight of a computation that has begun, made if nobody waits for it yet.
    pub(crate) fn flight_of(&mut self, hash: u64, number: u64) -> Option<Arc<Flight>> {
        let running = self.numbered(hash, number)?;
        Some(Arc::clone(running.flight.get_or_insert_with(Flight::new)))
    }

    /// Ends a computation's time here.
    pub(crate) fn finish(&mut self, hash: u64, number: u64) -> Option<Finished> {
        let list = self.list(hash);
        let at = list.iter().position(|it| it.number == number)?;
        let Running { key, flight, fenced, .. } = list.swap_remove(at);
        self.len -= 1;
        // What a crowd has left behind is given back.
        if self.len == 0 && !self.many.is_empty() {
            self.many = Vec::new();
        }
        Some(Finished { key, flight, fenced })
    }

    /// Whether this computation was fenced, or is not known any more.
    #[cfg(feature = "backend")]
    pub(crate) fn is_fenced(&mut self, hash: u64, number: u64) -> bool {
        self.numbered(hash, number).is_none_or(|it| it.fenced)
    }

    /// Lets a computation go on aside, under another number, and where it is `queued` later; returns the flight of
    /// those who wait for it so far.
    #[cfg(feature = "backend")]
    pub(crate) fn set_aside(
        &mut self,
        hash: u64,
        number: u64,
        renewal: u64,
        queued: bool,
    ) -> Option<Arc<Flight>> {
        let running = self.numbered(hash, number)?;
        (running.number, running.queued) = (renewal, queued);
        if running.audience == Audience::All {
            running.audience = Audience::Holders;
        }
        if renewal != number {
            running.course = renewal;
        }
        running.flight.take()
    }

    /// The computation aside of what this one computes too, and whether it is yet to begin.
    #[cfg(feature = "backend")]
    pub(crate) fn renewal(
        &mut self,
        hash: u64,
        number: u64,
        same: &dyn Fn(KeyRef<'_>, KeyRef<'_>) -> bool,
    ) -> Option<(u64, bool)> {
        let list = &*self.list(hash);
        let own = list.iter().find(|it| it.number == number)?;
        let is_it =
            |it: &&Running| it.hash == hash && it.audience == Audience::Holders && it.number != number;
        let found =
            list.iter().filter(is_it).find(|it| it.is_shared() && same(it.key.view(), own.key.view()));
        found.map(|it| (it.number, it.queued))
    }

    /// Lets one that was fenced, and whose body has not begun, begin only now, unless another one of its key is under
    /// way.
    #[cfg(feature = "backend")]
    pub(crate) fn begin_again(
        &mut self,
        hash: u64,
        number: u64,
        same: &dyn Fn(KeyRef<'_>, KeyRef<'_>) -> bool,
        renew: &dyn Fn(&mut AnyKey),
    ) -> bool {
        let list = self.list(hash);
        let Some(at) = list.iter().position(|it| it.number == number) else { return false };
        let is_other = |it: &Running| it.number != number && it.hash == hash && it.is_shared();
        let is_alone = !list.iter().any(|it| is_other(it) && same(it.key.view(), list[at].key.view()));
        if is_alone {
            list[at].fenced = false;
            renew(&mut list[at].key);
        }
        is_alone
    }

    /// Fences the computations of one key.
    pub(crate) fn fence(&mut self, hash: u64, is_key: IsKey<'_>) {
        for running in self.list(hash) {
            running.fenced |= running.hash == hash && is_key(running.key.view());
        }
        #[cfg(feature = "backend")]
        if let Some(loading) = &mut self.loading {
            loading.hashes.insert(hash);
        }
    }

    /// Fences all.
    pub(crate) fn fence_all(&mut self) {
        for list in std::iter::once(&mut self.few).chain(&mut self.many) {
            for running in list {
                running.fenced = true;
            }
        }
        #[cfg(feature = "backend")]
        if let Some(loading) = &mut self.loading {
            loading.is_all = true;
        }
    }

    /// From now on what is fenced is noted.
    #[cfg(feature = "backend")]
    pub(crate) fn begin_load(&mut self) {
        self.loading.get_or_insert_default().loads += 1;
    }

    #[cfg(feature = "backend")]
    pub(crate) fn end_load(&mut self) {
        if let Some(loading) = &mut self.loading {
            loading.loads -= 1;
            if loading.loads == 0 {
                self.loading = None;
            }
        }
    }

    /// Whether nothing of this hash was fenced since.
    #[cfg(feature = "backend")]
    pub(crate) fn may_be_loaded(&self, hash: u64) -> bool {
        self.loading.as_ref().is_some_and(|loading| !loading.is_all && !loading.hashes.contains(&hash))
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn};
    use std::pin::pin;

    use super::*;

    /// Later than any stall.
    const LATE: Moment = POLLED_AND_WOKEN - 1;

    fn poll<F: Future>(flight: &Arc<Flight>, body: Pin<&mut F>) -> Poll<F::Output> {
        let waker = Waker::from(Arc::clone(flight));
        flight.poll(&Course::begin(0), &waker, body, &Context::from_waker(Waker::noop()))
    }

    /// Somebody who waits.
    fn wait<'a>(flight: &'a Arc<Flight>, waker: &Waker) -> Ended<'a> {
        let mut ended = flight.ended();
        assert!(Pin::new(&mut ended).poll(&mut Context::from_waker(waker)).is_pending());
        ended
    }

    /// Begins the computation of this number.
    fn begin(flights: &mut Flights, hash: u64, key: u32, number: u64, shared: bool) {
        flights.begin_within(number, hash, AnyKey::new(key), number, shared);
    }

    #[test]
    fn a_leader_is_given_up_if_it_was_woken_and_is_not_polled() {
        let flight = Flight::new();
        let _waits = wait(&flight, Waker::noop());
        let mut body = pin!(pending::<()>());
        assert!(poll(&flight, body.as_mut()).is_pending());
        assert!(flight.look(LATE).is_none() && !flight.has_ended(), "not woken");
        Waker::from(Arc::clone(&flight)).wake();
        let stalls = flight.look(clock::now()).expect("it will have stalled");
        assert_eq!(flight.look(stalls - 1), Some(stalls));
        assert!(!flight.has_ended());
        assert!(poll(&flight, body.as_mut()).is_pending());
        assert!(flight.look(LATE).is_none() && !flight.has_ended(), "polled in time");
        Waker::from(Arc::clone(&flight)).wake();
        assert!(flight.look(LATE).is_none() && flight.has_ended());
    }

    #[test]
    fn a_leader_that_may_be_left_alone_is_woken_by_who_begins_to_wait() {
        for awaited_before in [false, true] {
            let flight = Flight::new();
            let mut body = pin!(pending::<()>());
            assert!(poll(&flight, body.as_mut()).is_pending());
            let before = awaited_before.then(|| wait(&flight, Waker::noop()));
            flight.is_left();
            let after = (!awaited_before).then(|| wait(&flight, Waker::noop()));
            let stalls = flight.look(clock::now()).expect("it was woken");
            assert!(poll(&flight, body.as_mut()).is_pending());
            assert!(flight.look(LATE).is_none() && !flight.has_ended(), "it is polled");
            let _more = wait(&flight, Waker::noop());
            assert!(flight.look(stalls + nanoseconds(STALLED)).is_none() && flight.has_ended());
            drop((before, after));
        }
    }

    #[test]
    fn a_leader_that_is_being_polled_is_at_work_whatever_wakes_it() {
        let flight = Flight::new();
        let _waits = wait(&flight, Waker::noop());
        let mut body = pin!(poll_fn(|context| {
            for _ in 0..3 {
                context.waker().wake_by_ref();
                assert!(flight.look(LATE).is_none() && !flight.has_ended());
            }
            Poll::<()>::Pending
        }));
        assert!(poll(&flight, body.as_mut()).is_pending());
        // The time counts from when the poll ended.
        let now = clock::now();
        let stalls = flight.look(now).expect("it was woken");
        assert!(stalls > now && stalls <= clock::now() + nanoseconds(STALLED));
        assert!(flight.look(stalls).is_none() && flight.has_ended());
    }

    #[test]
    fn a_poll_that_panics_has_ended() {
        let flight = Flight::new();
        let mut body = pin!(async { panic!("in the body") });
        let poll = std::panic::AssertUnwindSafe(|| poll(&flight, body.as_mut()));
        assert!(std::panic::catch_unwind(poll).is_err());
        assert_eq!(flight.woken.load(Acquire), AT_WORK);
    }

    #[test]
    fn who_no_longer_waits_is_forgotten() {
        struct Wakes;
        impl Wake for Wakes {
            fn wake(self: Arc<Self>) {}
        }
        let flight = Flight::new();
        let [gone, stays] = [(); 2].map(|()| Arc::new(Wakes));
        let one = wait(&flight, &Waker::from(Arc::clone(&gone)));
        let _other = wait(&flight, &Waker::from(Arc::clone(&stays)));
        drop(one);
        assert_eq!((Arc::strong_count(&gone), Arc::strong_count(&stays)), (1, 2));
        assert_eq!(flight.tasks.lock().waiting.len(), 1);
    }

    #[test]
    fn a_flight_that_was_given_up_or_fenced_is_not_joined_and_the_next_one_is() {
        let mut flights = Flights::default();
        let join =
            |flights: &mut Flights| flights.join(7, &|key| *key.key::<u32>() == 1).map(|(_, number)| number);
        begin(&mut flights, 7, 1, 10, true);
        assert_eq!(join(&mut flights), Some(10));
        flights.flight_of(7, 10).expect("it was joined").end(Ending::Lost);
        assert_eq!(join(&mut flights), None);
        begin(&mut flights, 7, 1, 11, true);
        assert_eq!(join(&mut flights), Some(11));
        flights.fence(7, &|key| *key.key::<u32>() == 1);
        assert_eq!(join(&mut flights), None);
        begin(&mut flights, 7, 1, 12, true);
        assert_eq!(join(&mut flights), Some(12));
        let finished = [10, 11, 12, 12]
            .map(|number| flights.finish(7, number).map(|it| (it.key.into_key::<u32>(), it.fenced)));
        assert_eq!(finished, [Some((1, true)), Some((1, true)), Some((1, false)), None]);
    }

    #[cfg(feature = "backend")]
    #[test]
    fn what_was_fenced_before_it_began_begins_again_unless_it_has_been_replaced() {
        let mut flights = Flights::default();
        let begins_again = |flights: &mut Flights, number| {
            flights.begin_again(7, number, &|one, other| one.key::<u32>() == other.key::<u32>(), &|_| ())
        };
        for (number, shared) in [(10, true), (11, true), (12, false)] {
            begin(&mut flights, 7, 1, number, shared);
        }
        flights.fence(7, &|key| *key.key::<u32>() == 1);
        assert!(begins_again(&mut flights, 12), "the others are fenced");
        assert!(begins_again(&mut flights, 11), "it is for nobody else");
        assert!(!begins_again(&mut flights, 10), "another one is under way");
        assert_eq!([10, 11, 12].map(|number| flights.is_fenced(7, number)), [true, false, false]);
        assert!(!begins_again(&mut flights, 13), "it is not known");
    }

    #[test]
    fn there_is_a_flight_only_if_somebody_waits() {
        let mut flights = Flights::default();
        begin(&mut flights, 7, 1, 10, true);
        begin(&mut flights, 7, 2, 11, true);
        let (joined, _) = flights.join(7, &|key| *key.key::<u32>() == 1).expect("it is there");
        let finished = [10, 11].map(|number| flights.finish(7, number).expect("it is there").flight);
        assert!(finished[0].as_ref().is_some_and(|it| Arc::ptr_eq(it, &joined) && it.is_awaited()));
        assert!(finished[1].is_none());
    }

    #[test]
    fn a_crowd_of_flights_is_known_one_by_one() {
        let mut flights = Flights::default();
        let crowd = || (0..100).map(|n| (n, u64::from(n), u64::from(n % 3)));
        crowd().for_each(|(n, number, hash)| begin(&mut flights, hash, n, number, n % 5 != 0));
        for (n, number, hash) in crowd() {
            let joined = flights.join(hash, &|key| *key.key::<u32>() == n).map(|(_, number)| number);
            assert_eq!(joined, (n % 5 != 0).then_some(number), "{n}");
        }
        flights.fence(1, &|key| key.key::<u32>() % 2 == 0);
        for (n, number, hash) in crowd() {
            let Finished { key, flight, fenced } = flights.finish(hash, number).expect("it is there");
            assert_eq!(
                (key.into_key::<u32>(), flight.is_some(), fenced),
                (n, n % 5 != 0, hash == 1 && n % 2 == 0),
                "{n}"
            );
        }
        assert_eq!((flights.len, flights.few.len(), flights.many.len()), (0, 0, 0));
    }
}
