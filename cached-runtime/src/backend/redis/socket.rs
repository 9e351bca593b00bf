//! A connection's bytes, within a deadline.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

#[cfg(feature = "tls")]
use rustls::{ClientConnection, StreamOwned};

use super::config::{Address, Endpoint};
use super::setup::Setup;
#[cfg(feature = "tls")]
use super::tls::server_name;

/// Reads and writes that give up at a deadline with [`ErrorKind::TimedOut`], however many they are.
pub(super) enum Socket {
    Tcp(Timed<TcpStream>),
    #[cfg(unix)]
    Unix(Timed<UnixStream>),
    #[cfg(feature = "tls")]
    Tls(Box<StreamOwned<ClientConnection, Timed<TcpStream>>>),
}

impl Socket {
    /// Looking up a host's name, and waiting for a place in the queue of a Unix socket, may last longer.
    pub(super) fn connect(address: &Address, setup: &Setup, deadline: Instant) -> io::Result<Self> {
        match address {
            Address::Tcp(endpoint) => {
                let stream = connect(endpoint, deadline)?;
                stream.set_nodelay(true)?;
                let timed = Timed::new(stream, deadline);
                #[cfg(feature = "tls")]
                if let Some(tls) = &setup.tls {
                    let connection = ClientConnection::new(tls.config()?, server_name(&endpoint.host)?)
                        .map_err(io::Error::other)?;
                    return Ok(Self::Tls(Box::new(StreamOwned::new(connection, timed))));
                }
                #[cfg(not(feature = "tls"))]
                let _ = setup;
                Ok(Self::Tcp(timed))
            }
            #[cfg(unix)]
            Address::Unix(path) => Ok(Self::Unix(Timed::new(UnixStream::connect(path)?, deadline))),
        }
    }

    pub(super) fn set_deadline(&mut self, deadline: Instant) {
        match self {
            Self::Tcp(stream) => stream.deadline = deadline,
            #[cfg(unix)]
            Self::Unix(stream) => stream.deadline = deadline,
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.sock.deadline = deadline,
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            #[cfg(unix)]
            Self::Unix(stream) => stream.read(buffer),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            #[cfg(unix)]
            Self::Unix(stream) => stream.write(bytes),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.flush(),
            #[cfg(unix)]
            Self::Unix(stream) => stream.flush(),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// Each of the host's addresses gets a part of the time, so that one that is silent does not take all of it.
fn connect(endpoint: &Endpoint, deadline: Instant) -> io::Result<TcpStream> {
    let addresses: Vec<_> = (endpoint.host.as_str(), endpoint.port).to_socket_addrs()?.collect();
    let mut failure = io::Error::new(ErrorKind::NotFound, "the host has no address");
    for (tried, address) in addresses.iter().enumerate() {
        let share = share(deadline, addresses.len() - tried).max(SHORTEST);
        match TcpStream::connect_timeout(address, share) {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// The time that one of so many may take that are tried one after another.
pub(super) fn share(deadline: Instant, of: usize) -> Duration {
    deadline.saturating_duration_since(Instant::now()) / u32::try_from(of).unwrap_or(u32::MAX)
}

/// A socket that can be told how long to wait.
pub(super) trait Waits: Read + Write {
    fn wait_for_reads(&self, time: Duration) -> io::Result<()>;
    fn wait_for_writes(&self, time: Duration) -> io::Result<()>;
}

impl Waits for TcpStream {
    fn wait_for_reads(&self, time: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(time))
    }

    fn wait_for_writes(&self, time: Duration) -> io::Result<()> {
        self.set_write_timeout(Some(time))
    }
}

#[cfg(unix)]
impl Waits for UnixStream {
    fn wait_for_reads(&self, time: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(time))
    }

    fn wait_for_writes(&self, time: Duration) -> io::Result<()> {
        self.set_write_timeout(Some(time))
    }
}

pub(super) struct Timed<S> {
    stream: S,
    deadline: Instant,
    /// What the socket was told last.
    reads: Duration,
    writes: Duration,
}

impl<S: Waits> Timed<S> {
    fn new(stream: S, deadline: Instant) -> Self {
        Self { stream, deadline, reads: Duration::ZERO, writes: Duration::ZERO }
    }
}

impl<S: Waits> Read for Timed<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let wait = wait(left(self.deadline)?);
            if wait != self.reads {
                self.stream.wait_for_reads(wait)?;
                self.reads = wait;
            }
            match self.stream.read(buffer) {
                Err(error) if goes_on(&error) => {}
                done => return done,
            }
        }
    }
}

impl<S: Waits> Write for Timed<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            let wait = wait(left(self.deadline)?);
            if wait != self.writes {
                self.stream.wait_for_writes(wait)?;
                self.writes = wait;
            }
            match self.stream.write(bytes) {
                Err(error) if goes_on(&error) => {}
                done => return done,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// Whether only a part of the time has passed, or a signal came.
fn goes_on(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

const SHORTEST: Duration = Duration::from_micros(1);

fn left(deadline: Instant) -> io::Result<Duration> {
    match deadline.checked_duration_since(Instant::now()) {
        Some(left) if !left.is_zero() => Ok(left),
        _ => Err(ErrorKind::TimedOut.into()),
    }
}

/// How long to wait at once: a power of two of milliseconds that fits into what is left, so that the socket is
/// seldom told anew; near the end, all that is left.
fn wait(left: Duration) -> Duration {
    let milliseconds = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
    match milliseconds.checked_ilog2() {
        Some(power) => Duration::from_millis(1 << power.min(20)),
        None => left.max(SHORTEST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_few_different_ones_and_never_beyond_the_deadline() {
        for (left, expected) in
            [(100_000, 64_000), (64_000, 64_000), (36_000, 32_000), (1_000, 1_000), (999, 999)]
        {
            assert_eq!(wait(Duration::from_micros(left)), Duration::from_micros(expected));
        }
        assert_eq!(wait(Duration::from_nanos(1)), SHORTEST);
        assert!(wait(Duration::MAX) > Duration::from_secs(60));
    }
}
