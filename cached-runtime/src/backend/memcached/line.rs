//! Connections of tokio's: one for each runtime and server. The commands of all tasks go over it one behind
//! another, as many at once as there are, and answers go to whoever still waits.

use std::collections::{HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::runtime::{Handle, Id};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;
use tokio::time::Sleep;

use super::node::Node;
use super::protocol::{Body, Inbox, Malformed, Reply};
use super::request::{Failure, Replies, Request, are_sound};
use super::server::Server;

type Outcome = Result<Vec<Body>, Failure>;

/// Bytes to be sent are kept in the same place, unless that has become larger than this.
const MOST_KEPT: usize = 64 * 1024;

/// The lines of a server, by runtime.
#[derive(Debug, Default)]
pub(super) struct Lines(Mutex<HashMap<Id, UnboundedSender<Job>>>);

/// A request on its way.
#[derive(Debug)]
struct Job {
    request: Request,
    deadline: Instant,
    /// Absent once that it is late was told.
    answer: Option<oneshot::Sender<Outcome>>,
    /// It was sent once before, on a connection that was lost.
    is_second: bool,
}

/// An answer on its way; a failure of the channel says that the runtime has ended.
pub(super) type Answering = oneshot::Receiver<Outcome>;

impl Node {
    /// Sends a request from this runtime.
    pub(super) fn ask_on(
        self: &Arc<Self>,
        runtime: &Handle,
        request: Request,
        deadline: Instant,
    ) -> Answering {
        let (answer, answering) = oneshot::channel();
        let job = Job { request, deadline, answer: Some(answer), is_second: false };
        // Where it fails, the channel has, too.
        let _ = self.line(runtime).send(job);
        answering
    }

    fn line(self: &Arc<Self>, runtime: &Handle) -> UnboundedSender<Job> {
        let mut lines = self.lines.0.lock();
        if let Some(line) = lines.get(&runtime.id()).filter(|line| !line.is_closed()) {
            return line.clone();
        }
        // Those of runtimes that have ended.
        lines.retain(|_, line| !line.is_closed());
        let (sender, jobs) = mpsc::unbounded_channel();
        lines.insert(runtime.id(), sender.clone());
        drop(lines);
        let line = Line {
            node: Arc::downgrade(self),
            server: self.server.clone(),
            address: self.address,
            largest_value: self.settings.largest_value,
            jobs,
            waiting: VecDeque::new(),
            sent: VecDeque::new(),
            answered: 0,
        };
        runtime.spawn(line.run());
        sender
    }
}

trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Duplex for S {}

async fn connect(server: &Server, address: Option<SocketAddr>) -> io::Result<Box<dyn Duplex>> {
    match server {
        Server::Tcp { host, port } => {
            let stream = match address {
                Some(address) => TcpStream::connect(address).await?,
                None => TcpStream::connect((host.as_str(), *port)).await?,
            };
            stream.set_nodelay(true)?;
            Ok(Box::new(stream))
        }
        #[cfg(unix)]
        Server::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
        #[cfg(not(unix))]
        Server::Unix(_) => Err(ErrorKind::Unsupported.into()),
    }
}

/// What one task does: it ends when the server is not used any more.
struct Line {
    /// Not owned, so that it ends with its last user.
    node: Weak<Node>,
    server: Server,
    address: Option<SocketAddr>,
    largest_value: usize,
    jobs: UnboundedReceiver<Job>,
    /// To be sent on the next connection.
    waiting: VecDeque<Job>,
    /// Sent and not answered, in this order.
    sent: VecDeque<Sent>,
    /// How many have been answered.
    answered: u64,
}

struct Sent {
    job: Job,
    replies: Replies,
    /// How many had been answered before.
    answered: u64,
}

/// Why a connection is given up.
enum End {
    /// Nobody will ask any more.
    Unused,
    Lost(io::Error),
    /// Something was not answered by its deadline, nor was anything else since it was sent.
    Late,
    Malformed(Malformed),
    /// An error was answered.
    Unsound,
}

impl Line {
    async fn run(mut self) {
        loop {
            if self.waiting.is_empty() {
                let Some(job) = self.jobs.recv().await else { return };
                self.waiting.push_back(job);
            }
            let Some(deadline) = self.connect_deadline() else { return };
            let connected =
                tokio::time::timeout_at(deadline.into(), connect(&self.server, self.address)).await;
            match connected.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into())) {
                Ok(stream) => {
                    let mut wire = Wire::new(stream, self.largest_value);
                    let end = poll_fn(|context| self.poll(&mut wire, context)).await;
                    drop(wire);
                    if matches!(end, End::Unused) {
                        return;
                    }
                    self.end(end);
                }
                Err(error) => self.is_unreachable(&error),
            }
        }
    }

    /// None if nobody uses the server any more.
    fn connect_deadline(&self) -> Option<Instant> {
        let first = self.waiting.iter().map(|job| job.deadline).min()?;
        Some(self.node.upgrade()?.connect_deadline(first))
    }

    fn is_unreachable(&mut self, error: &io::Error) {
        while let Ok(job) = self.jobs.try_recv() {
            self.waiting.push_back(job);
        }
        let now = Instant::now();
        for job in self.waiting.drain(..) {
            let is_late = job.deadline <= now;
            job.answer(Err(if is_late { Failure::TimedOut } else { Failure::Unreachable(copy(error)) }));
        }
    }

    /// Sends, receives, and looks at the time.
    fn poll(&mut self, wire: &mut Wire, context: &mut Context<'_>) -> Poll<End> {
        let is_used = loop {
            // What has come first: nothing is sent to who has gone.
            while let Poll::Ready(read) = wire.read(context) {
                if let Err(end) = read.map_err(End::Lost).and_then(|()| self.take_replies(&mut wire.inbox)) {
                    return Poll::Ready(end);
                }
            }
            let (is_used, count) = self.take_jobs(wire, context);
            if let Err(error) = wire.write(context) {
                return Poll::Ready(End::Lost(error));
            }
            if count == 0 {
                break is_used;
            }
        };
        if !is_used && self.sent.is_empty() {
            return Poll::Ready(End::Unused);
        }
        while wire.alarm.rings(context) {
            let now = Instant::now();
            if let Err(end) = self.tell_late(now) {
                return Poll::Ready(end);
            }
            let waiting = self.sent.iter().filter(|sent| sent.job.answer.is_some());
            if let Some(next) = waiting.map(|sent| sent.job.deadline).min() {
                wire.alarm.set(next);
            }
        }
        Poll::Pending
    }

    /// What is late while others are answered leaves the connection to them: it is only that there are many.
    fn tell_late(&mut self, now: Instant) -> Result<(), End> {
        for Sent { job, answered, .. } in &mut self.sent {
            if job.deadline > now || job.answer.is_none() {
                continue;
            }
            if *answered == self.answered {
                return Err(End::Late);
            }
            job.tell(Err(Failure::TimedOut));
        }
        Ok(())
    }

    /// Returns whether there can be more jobs ever, and how many there were now.
    fn take_jobs(&mut self, wire: &mut Wire, context: &mut Context<'_>) -> (bool, usize) {
        let (mut now, mut count) = (None, 0);
        loop {
            let job = match self.waiting.pop_front() {
                Some(job) => job,
                None => match self.jobs.poll_recv(context) {
                    Poll::Ready(Some(job)) => job,
                    Poll::Ready(None) => return (false, count),
                    Poll::Pending => return (true, count),
                },
            };
            if job.answer.as_ref().is_none_or(oneshot::Sender::is_closed) {
                continue;
            }
            if job.deadline <= *now.get_or_insert_with(Instant::now) {
                let is_asked = job.is_second;
                job.answer(Err(if is_asked { Failure::TimedOut } else { Failure::Busy }));
                continue;
            }
            wire.alarm.set(job.deadline);
            wire.out.extend_from_slice(&job.request.bytes);
            let replies = job.request.replies();
            self.sent.push_back(Sent { job, replies, answered: self.answered });
            count += 1;
        }
    }

    fn take_replies(&mut self, inbox: &mut Inbox) -> Result<(), End> {
        while let Some(reply) = inbox.take().map_err(End::Malformed)? {
            self.take_reply(reply)?;
        }
        if self.sent.is_empty() && !inbox.is_empty() {
            return Err(End::Malformed(Malformed("an answer to nothing")));
        }
        Ok(())
    }

    fn take_reply(&mut self, reply: Reply) -> Result<(), End> {
        let first = self.sent.front_mut().ok_or(End::Malformed(Malformed("an answer to nothing")))?;
        first.replies.add(reply).map_err(End::Malformed)?;
        if first.replies.is_complete()
            && let Some(Sent { job, replies, .. }) = self.sent.pop_front()
        {
            self.answered += 1;
            let bodies = replies.into_bodies();
            let is_sound = are_sound(&bodies);
            job.answer(Ok(bodies));
            return if is_sound { Ok(()) } else { Err(End::Unsound) };
        }
        Ok(())
    }

    /// Nothing will be answered any more on this connection. What may be sent twice is sent on another.
    fn end(&mut self, end: End) {
        if matches!(end, End::Lost(_))
            && let Some(node) = self.node.upgrade()
        {
            node.may_have_restarted();
        }
        let now = Instant::now();
        let mut sent = std::mem::take(&mut self.sent);
        let error = match end {
            End::Lost(error) => error,
            End::Malformed(malformed) => {
                if let Some(Sent { job, .. }) = sent.pop_front() {
                    job.answer(Err(Failure::Malformed(malformed)));
                }
                ErrorKind::ConnectionAborted.into()
            }
            End::Unused | End::Late | End::Unsound => ErrorKind::ConnectionAborted.into(),
        };
        for Sent { mut job, .. } in sent {
            if job.deadline <= now {
                job.answer(Err(Failure::TimedOut));
            } else if job.request.is_repeatable && !job.is_second {
                job.is_second = true;
                self.waiting.push_back(job);
            } else {
                job.answer(Err(Failure::Lost(copy(&error))));
            }
        }
    }
}

impl Job {
    fn answer(mut self, outcome: Outcome) {
        self.tell(outcome);
    }

    fn tell(&mut self, outcome: Outcome) {
        if let Some(answer) = self.answer.take() {
            // Who asked may have gone.
            let _ = answer.send(outcome);
        }
    }
}

/// Several jobs may fail for the same reason.
fn copy(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
}

/// A connection, and what is between it and the jobs.
struct Wire {
    stream: Box<dyn Duplex>,
    /// To be sent, from `written` on.
    out: Vec<u8>,
    written: usize,
    inbox: Inbox,
    alarm: Alarm,
}

impl Wire {
    fn new(stream: Box<dyn Duplex>, largest_value: usize) -> Self {
        let inbox = Inbox::new(largest_value);
        Self { stream, out: Vec::new(), written: 0, inbox, alarm: Alarm::default() }
    }

    /// Writes as much as goes.
    fn write(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        while self.written < self.out.len() {
            let stream = Pin::new(&mut *self.stream);
            match stream.poll_write(context, &self.out[self.written..]) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(0)) => return Err(ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(count)) => self.written += count,
                Poll::Ready(Err(error)) => return Err(error),
            }
        }
        self.written = 0;
        if self.out.len() > MOST_KEPT {
            self.out = Vec::new();
        } else {
            self.out.clear();
        }
        Ok(())
    }

    /// Reads once.
    fn read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut room = ReadBuf::new(self.inbox.room());
        let read = Pin::new(&mut *self.stream).poll_read(context, &mut room);
        let count = room.filled().len();
        match read {
            Poll::Ready(Ok(())) if count == 0 => Poll::Ready(Err(ErrorKind::UnexpectedEof.into())),
            Poll::Ready(Ok(())) => {
                self.inbox.filled(count);
                Poll::Ready(Ok(()))
            }
            other => other,
        }
    }
}

/// Rings at the earliest moment that it was set to. What was answered meanwhile does not set it back, so that
/// it is moved once in a deadline and not with each command.
#[derive(Default)]
struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
    moment: Option<Instant>,
}

impl Alarm {
    fn set(&mut self, moment: Instant) {
        if self.moment.is_some_and(|earlier| earlier <= moment) {
            return;
        }
        self.moment = Some(moment);
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(moment.into()),
            None => self.sleep = Some(Box::pin(tokio::time::sleep_until(moment.into()))),
        }
    }

    /// Whether the moment has come; then it is not set any more.
    fn rings(&mut self, context: &mut Context<'_>) -> bool {
        let (Some(sleep), Some(_)) = (&mut self.sleep, self.moment) else { return false };
        let rings = sleep.as_mut().poll(context).is_ready();
        if rings {
            self.moment = None;
        }
        rings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_late_ends_a_connection_only_if_nothing_was_answered_since() {
        let now = Instant::now();
        let (_sender, jobs) = mpsc::unbounded_channel();
        let mut line = Line {
            node: Weak::new(),
            server: Server::tcp("127.0.0.1", 1),
            address: None,
            largest_value: 1,
            jobs,
            waiting: VecDeque::new(),
            sent: VecDeque::new(),
            answered: 1,
        };
        let send = |line: &mut Line, answered| {
            let (answer, answering) = oneshot::channel();
            let request = Request::get(["key"].into_iter());
            let replies = request.replies();
            let job = Job { request, deadline: now, answer: Some(answer), is_second: false };
            line.sent.push_back(Sent { job, replies, answered });
            answering
        };
        let mut before = send(&mut line, 0);
        assert!(line.tell_late(now).is_ok());
        assert!(matches!(before.try_recv(), Ok(Err(Failure::TimedOut))));
        assert_eq!(line.sent.len(), 1, "its answer is still to come");
        let mut since = send(&mut line, 1);
        assert!(matches!(line.tell_late(now), Err(End::Late)));
        assert!(since.try_recv().is_err(), "it is told, or asked again, as the connection ends");
    }
}
