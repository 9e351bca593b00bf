//! Connections that block, and never for longer than until a deadline.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
#[cfg(unix)]
use std::{os::unix::net::UnixStream, path::Path, sync::mpsc, thread};

use parking_lot::{Condvar, Mutex};

use super::node::{Life, Node};
use super::protocol::{Body, Inbox, Malformed};
use super::request::{FULL, Failure, Replies, Request, are_sound, is_full};
use super::server::Server;

/// So many threads at most wait for a Unix socket at once.
#[cfg(unix)]
const MOST_BLOCKED: usize = 64;

/// The connections to a server.
#[derive(Debug, Default)]
pub(super) struct Pool {
    state: Mutex<State>,
    /// One was given back, or closed.
    returned: Condvar,
    /// As many as threads that wait to connect, and one more.
    #[cfg(unix)]
    blocked: Arc<()>,
}

#[derive(Debug, Default)]
struct State {
    /// Those that nobody uses now. Each has answered all that it was asked.
    idle: Vec<Connection>,
    /// How many there are, idle ones too, and such as are being made.
    open: usize,
    /// The server has refused one. Until then no more are made as long as there are any.
    full_until: Option<Instant>,
}

impl State {
    /// Whether there is none to be had now, for one who may make it.
    fn is_exhausted(&self, may_make: bool) -> bool {
        let is_full = || !may_make || self.full_until.is_some_and(|until| Instant::now() < until);
        self.idle.is_empty() && self.open > 0 && is_full()
    }
}

impl Pool {
    /// The one that was used last; none if one may be made. Who has to wait for one waits for half of the time:
    /// the server is to have the other half.
    fn take(
        &self,
        may_make: bool,
        deadline: Instant,
        pause: Duration,
    ) -> Result<Option<Connection>, Failure> {
        let mut state = self.state.lock();
        if state.is_exhausted(may_make) {
            let now = Instant::now();
            let until = now + deadline.saturating_duration_since(now) / 2;
            self.returned.wait_while_until(&mut state, |state| state.is_exhausted(may_make), until);
            if state.is_exhausted(may_make) {
                return Err(Failure::Busy);
            }
        }
        let idle = state.idle.pop();
        if idle.is_none() && state.full_until.is_some() {
            // One tries whether there is room again.
            state.full_until = later(pause);
        }
        Ok(idle)
    }

    /// Has it that the server takes no more connections. Returns whether there are any.
    fn is_full(&self, pause: Duration) -> bool {
        let mut state = self.state.lock();
        state.full_until = later(pause);
        state.open > 0
    }

    fn has_room(&self) {
        self.state.lock().full_until = None;
    }

    fn give_back(&self, connection: Connection, most: usize) {
        let mut state = self.state.lock();
        if state.idle.len() < most {
            state.idle.push(connection);
            drop(state);
            self.returned.notify_one();
        } else {
            // It is closed without the lock.
            drop(state);
            drop(connection);
        }
    }

    pub(super) fn clear(&self) {
        let idle = std::mem::take(&mut self.state.lock().idle);
        // They are closed without the lock.
        drop(idle);
    }

    fn place(self: &Arc<Self>) -> Place {
        self.state.lock().open += 1;
        Place(Arc::downgrade(self))
    }
}

/// One of the connections that there are. The pool has those that are idle, and they do not keep it.
#[derive(Debug)]
struct Place(Weak<Pool>);

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(pool) = self.0.upgrade() {
            pool.state.lock().open -= 1;
            pool.returned.notify_one();
        }
    }
}

/// Where the pause is longer than the clock can tell, there is none.
fn later(pause: Duration) -> Option<Instant> {
    Instant::now().checked_add(pause)
}

/// A request that was sent.
pub(super) struct Sent {
    connection: Connection,
    replies: Replies,
    /// The connection was not made for it.
    is_reused: bool,
}

impl Node {
    /// Which of its lives the server is in, to be known before a command is sent.
    pub(super) fn life(&self, deadline: Instant) -> Result<Life, Failure> {
        loop {
            let absence = match self.known_life() {
                Ok(life) => return Ok(life),
                Err(absence) => absence,
            };
            let begun = self.health.begin();
            let bodies = self.ask(&Request::mark([].into_iter()), deadline)?;
            self.is_back(absence, begun, bodies)?;
        }
    }

    /// Sends a request and waits for its answers.
    pub(super) fn ask(&self, request: &Request, deadline: Instant) -> Result<Vec<Body>, Failure> {
        self.receive(request, self.send(request, deadline)?, deadline)
    }

    pub(super) fn send(&self, request: &Request, deadline: Instant) -> Result<Sent, Failure> {
        self.send_on_one(request, deadline, true)
    }

    /// Whether the connection may be made for it, or only if there are no others.
    fn send_on_one(&self, request: &Request, deadline: Instant, may_make: bool) -> Result<Sent, Failure> {
        while let Some(mut connection) = self.pool.take(may_make, deadline, self.settings.retry_after)? {
            // What must not be sent twice is not sent where it is known that nobody reads it.
            if !request.is_repeatable && !connection.is_quiet() {
                self.may_have_restarted();
                continue;
            }
            match connection.send(&request.bytes, deadline) {
                Ok(()) => return Ok(Sent { connection, replies: request.replies(), is_reused: true }),
                Err(Failure::Lost(_)) if request.is_repeatable => self.may_have_restarted(),
                Err(failure) => return Err(failure),
            }
        }
        self.send_anew(request, deadline)
    }

    fn send_anew(&self, request: &Request, deadline: Instant) -> Result<Sent, Failure> {
        let mut connection = self.connect(deadline)?;
        match connection.send(&request.bytes, deadline) {
            // A server that closes the connection at once may have said why.
            Ok(()) | Err(Failure::Lost(_)) => {}
            Err(failure) => return Err(failure),
        }
        Ok(Sent { connection, replies: request.replies(), is_reused: false })
    }

    pub(super) fn receive(
        &self,
        request: &Request,
        mut sent: Sent,
        deadline: Instant,
    ) -> Result<Vec<Body>, Failure> {
        loop {
            let result = sent.connection.receive(&mut sent.replies, deadline);
            if matches!(result, Err(Failure::Lost(_))) {
                self.may_have_restarted();
                // The server may have closed it long ago.
                if sent.is_reused && request.is_repeatable && sent.replies.none_so_far() {
                    sent = self.send_anew(request, deadline)?;
                    continue;
                }
            }
            result?;
            let Sent { connection, replies, is_reused } = sent;
            let bodies = replies.into_bodies();
            if !is_reused && is_full(&bodies) {
                drop(connection);
                if !self.pool.is_full(self.settings.retry_after) {
                    return Err(Failure::Unreachable(io::Error::other(FULL)));
                }
                sent = self.send_on_one(request, deadline, false)?;
                continue;
            }
            if !is_reused {
                self.pool.has_room();
            }
            if connection.inbox.is_empty() && are_sound(&bodies) {
                self.pool.give_back(connection, self.settings.most_idle);
            }
            return Ok(bodies);
        }
    }

    /// Sends a command of the classic protocol on a connection of its own, and returns what is answered until
    /// that is whole, at most so many bytes.
    pub(super) fn ask_for_text(
        &self,
        command: &[u8],
        most: usize,
        is_whole: impl Fn(&[u8]) -> bool,
        deadline: Instant,
    ) -> Result<Vec<u8>, Failure> {
        let mut connection = self.connect(deadline)?;
        connection.send(command, deadline)?;
        let mut text = Vec::new();
        while !is_whole(&text) {
            if text.len() > most {
                return Err(Failure::Malformed(Malformed("a text without an end")));
            }
            connection.fill(deadline)?;
            text.extend_from_slice(connection.inbox.take_all());
        }
        Ok(text)
    }

    fn connect(&self, deadline: Instant) -> Result<Connection, Failure> {
        if Instant::now() >= deadline {
            return Err(Failure::TimedOut);
        }
        let place = self.pool.place();
        let stream = self.connect_stream(self.connect_deadline(deadline)).map_err(|error| {
            if Instant::now() < deadline { Failure::Unreachable(error) } else { Failure::TimedOut }
        })?;
        Ok(Connection {
            stream,
            inbox: Inbox::new(self.settings.largest_value),
            read_timeout: Duration::ZERO,
            write_timeout: Duration::ZERO,
            _place: place,
        })
    }

    fn connect_stream(&self, deadline: Instant) -> io::Result<Stream> {
        let addresses = match &self.server {
            #[cfg(unix)]
            Server::Unix(path) => return self.connect_unix(path, deadline).map(Stream::Unix),
            #[cfg(not(unix))]
            Server::Unix(_) => return Err(ErrorKind::Unsupported.into()),
            Server::Tcp { host, port } => match self.address {
                Some(address) => vec![address],
                None => self.resolver.resolve(host, *port, deadline)?,
            },
        };
        let mut last_error = ErrorKind::NotFound.into();
        for address in addresses {
            let left = time_left(deadline).ok_or(ErrorKind::TimedOut)?;
            match TcpStream::connect_timeout(&address, left) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(Stream::Tcp(stream));
                }
                Err(error) => last_error = error,
            }
        }
        Err(last_error)
    }
}

#[cfg(unix)]
impl Node {
    /// On a thread of its own: where a server takes no connections, and more wait than it allows, this blocks
    /// without end.
    fn connect_unix(&self, path: &Path, deadline: Instant) -> io::Result<UnixStream> {
        // Each thread holds this as long as it is there.
        let blocked = Arc::clone(&self.pool.blocked);
        if Arc::strong_count(&blocked) > MOST_BLOCKED {
            return Err(ErrorKind::WouldBlock.into());
        }
        let (sender, receiver) = mpsc::channel();
        let path = path.to_owned();
        let connect = move || {
            // Who asked may have gone.
            let _ = sender.send(UnixStream::connect(path));
            drop(blocked);
        };
        thread::Builder::new().name("cached-connect".to_owned()).spawn(connect)?;
        let left = deadline.saturating_duration_since(Instant::now());
        receiver.recv_timeout(left).unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()))
    }
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

/// Calls a method of either kind of stream.
macro_rules! either {
    ($stream:expr, $inner:ident => $call:expr) => {
        match $stream {
            Stream::Tcp($inner) => $call,
            #[cfg(unix)]
            Stream::Unix($inner) => $call,
        }
    };
}

#[derive(Debug)]
struct Connection {
    stream: Stream,
    inbox: Inbox,
    /// As they were last set on the stream, to set them only when they change.
    read_timeout: Duration,
    write_timeout: Duration,
    _place: Place,
}

impl Connection {
    /// Whether the server has neither closed it nor sent anything. Only for one that was asked nothing.
    fn is_quiet(&mut self) -> bool {
        let stream = &mut self.stream;
        let mut byte = [0];
        either!(stream, it => it.set_nonblocking(true)).is_ok()
            && either!(stream, it => it.read(&mut byte))
                .is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
            && either!(stream, it => it.set_nonblocking(false)).is_ok()
    }

    fn send(&mut self, mut bytes: &[u8], deadline: Instant) -> Result<(), Failure> {
        while !bytes.is_empty() {
            let left = time_left(deadline).ok_or(Failure::TimedOut)?;
            if left != self.write_timeout {
                either!(&self.stream, it => it.set_write_timeout(Some(left))).map_err(Failure::Lost)?;
                self.write_timeout = left;
            }
            match either!(&mut self.stream, it => it.write(bytes)) {
                Ok(0) => return Err(Failure::Lost(ErrorKind::WriteZero.into())),
                Ok(count) => bytes = &bytes[count..],
                Err(error) => failure(error)?,
            }
        }
        Ok(())
    }

    fn receive(&mut self, replies: &mut Replies, deadline: Instant) -> Result<(), Failure> {
        loop {
            while let Some(reply) = self.inbox.take().map_err(Failure::Malformed)? {
                replies.add(reply).map_err(Failure::Malformed)?;
                if replies.is_complete() {
                    return Ok(());
                }
            }
            self.fill(deadline)?;
        }
    }

    /// Reads once.
    fn fill(&mut self, deadline: Instant) -> Result<(), Failure> {
        let left = time_left(deadline).ok_or(Failure::TimedOut)?;
        if left != self.read_timeout {
            either!(&self.stream, it => it.set_read_timeout(Some(left))).map_err(Failure::Lost)?;
            self.read_timeout = left;
        }
        match either!(&mut self.stream, it => it.read(self.inbox.room())) {
            Ok(0) => Err(Failure::Lost(ErrorKind::UnexpectedEof.into())),
            Ok(count) => {
                self.inbox.filled(count);
                Ok(())
            }
            Err(error) => failure(error),
        }
    }
}

/// What an error of a stream means; nothing if it was only interrupted.
fn failure(error: io::Error) -> Result<(), Failure> {
    match error.kind() {
        ErrorKind::Interrupted => Ok(()),
        // Both are said of a timeout, by different systems.
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Err(Failure::TimedOut),
        _ => Err(Failure::Lost(error)),
    }
}

/// What is left until then, in whole milliseconds, rounded up: so most operations of a connection have the
/// same timeout, which is set once. None if nothing is left.
fn time_left(deadline: Instant) -> Option<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    let milliseconds = left.as_nanos().div_ceil(1_000_000);
    // A year is for ever, and what the system's own clock can count.
    let milliseconds = u64::try_from(milliseconds).unwrap_or(u64::MAX).min(365 * 24 * 60 * 60 * 1000);
    (milliseconds > 0).then(|| Duration::from_millis(milliseconds))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};
    use std::thread;

    use super::super::Settings;
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn where_a_server_takes_no_more_connections_those_that_there_are_are_waited_for() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let settings = Settings { connect_timeout: LONG, retry_after: LONG, ..Settings::default() };
        let [alone, node] = [(); 2].map(|()| Node::new(Server::tcp("127.0.0.1", port), None, settings));
        let soon = Instant::now() + LONG;
        let request = || Request::get(["key"].into_iter());
        let refuse = || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let read = stream.read(&mut [0; 256]).expect("a request");
            assert!(read > 0);
            stream.write_all(b"ERROR Too many open connections\r\n").expect("it is read");
        };
        thread::scope(|scope| {
            scope.spawn(refuse);
            let refused = alone.ask(&request(), soon).map_err(|failure| failure.to_string());
            assert_eq!(refused, Err(FULL.to_owned()), "there is no other");
        });
        let first = request();
        let sent = node.send(&first, soon).expect("it is taken");
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut answer = || stream.write_all(b"EN\r\n").expect("it is read");
        thread::scope(|scope| {
            let second = scope.spawn(|| node.ask(&request(), soon));
            // While the first has the only connection.
            refuse();
            answer();
            assert_eq!(node.receive(&first, sent, soon).expect("an answer"), [Body::Miss]);
            answer();
            assert_eq!(second.join().expect("no panic").expect("an answer"), [Body::Miss]);
        });
        assert!(matches!(node.pool.take(true, soon, LONG), Ok(Some(_))));
    }
}
