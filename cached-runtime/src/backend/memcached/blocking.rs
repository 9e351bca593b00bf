//! Connections that block, and never for longer than until a deadline.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};
#[cfg(unix)]
use std::{os::unix::net::UnixStream, path::Path, sync::Arc, sync::mpsc, thread};

use parking_lot::Mutex;

use super::node::{Life, Node};
use super::protocol::{Body, Inbox, Malformed};
use super::request::{Failure, Replies, Request, are_sound};
use super::server::Server;

/// So many threads at most wait for a Unix socket at once.
#[cfg(unix)]
const MOST_BLOCKED: usize = 64;

/// Connections that nobody uses now. Each has answered all that it was asked.
#[derive(Debug, Default)]
pub(super) struct Pool {
    idle: Mutex<Vec<Connection>>,
    /// As many as threads that wait to connect, and one more.
    #[cfg(unix)]
    blocked: Arc<()>,
}

impl Pool {
    /// The one that was used last.
    fn take(&self) -> Option<Connection> {
        self.idle.lock().pop()
    }

    fn give_back(&self, connection: Connection, most: usize) {
        let mut idle = self.idle.lock();
        if idle.len() < most {
            idle.push(connection);
        }
    }

    pub(super) fn clear(&self) {
        let idle = std::mem::take(&mut *self.idle.lock());
        // They are closed without the lock.
        drop(idle);
    }
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
        while let Some(mut connection) = self.pool.take() {
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
        connection.send(&request.bytes, deadline)?;
        Ok(Sent { connection, replies: request.replies(), is_reused: false })
    }

    pub(super) fn receive(
        &self,
        request: &Request,
        mut sent: Sent,
        deadline: Instant,
    ) -> Result<Vec<Body>, Failure> {
        let mut result = sent.connection.receive(&mut sent.replies, deadline);
        if matches!(result, Err(Failure::Lost(_))) {
            self.may_have_restarted();
            // The server may have closed it long ago.
            if sent.is_reused && request.is_repeatable && sent.replies.none_so_far() {
                sent = self.send_anew(request, deadline)?;
                result = sent.connection.receive(&mut sent.replies, deadline);
            }
        }
        result?;
        let bodies = sent.replies.into_bodies();
        if sent.connection.inbox.is_empty() && are_sound(&bodies) {
            self.pool.give_back(sent.connection, self.settings.most_idle);
        }
        Ok(bodies)
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
        let stream = self.connect_stream(self.connect_deadline(deadline)).map_err(|error| {
            if Instant::now() < deadline { Failure::Unreachable(error) } else { Failure::TimedOut }
        })?;
        Ok(Connection {
            stream,
            inbox: Inbox::new(self.settings.largest_value),
            read_timeout: Duration::ZERO,
            write_timeout: Duration::ZERO,
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
