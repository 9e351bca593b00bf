//! What can go wrong on the way to a server: a TCP proxy whose mode can be changed while it runs.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::eventually;
use crate::servers::free_port;

/// How often a thread that waits for bytes looks whether the mode has changed.
const GLANCE: Duration = Duration::from_millis(5);

/// What the proxy does with what comes by, of connections that are there as well as of new ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Bytes go to the server and back.
    Pass,
    /// Nobody listens, and the connections that were there are closed.
    Refuse,
    /// Connections are taken; what is sent on them gets nowhere, and nothing comes back.
    Swallow,
    /// What the server sends comes so much later.
    Late(Duration),
    /// What the server sends comes byte by byte, with so much time between two.
    Drip(Duration),
    /// This is the answer to anything; the server sees nothing of it.
    Answer(&'static [u8]),
    /// Of what the server sends at once the first half comes, then the connection is closed.
    Half,
    /// The first half likewise, and then nothing more.
    HalfThenNothing,
    /// This comes after whatever the server sends.
    Extra(&'static [u8]),
    /// Once: the server gets what is sent, and the connection is closed before it has answered.
    LoseOne,
    /// The connection is closed as soon as something is sent on it; the server sees nothing of it.
    Close,
}

/// A proxy in front of one server, until it is dropped.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    server: SocketAddr,
    mode: Mutex<Mode>,
    listening: AtomicBool,
    accepted: AtomicUsize,
    ended: AtomicBool,
    /// What clients have sent, of each connection.
    sent: Mutex<Vec<Vec<u8>>>,
}

impl Proxy {
    /// One that passes everything on to this server, on a port of its own.
    ///
    /// # Panics
    ///
    /// If there is no room for a thread.
    #[must_use]
    pub fn to(server: SocketAddr) -> Self {
        let port = free_port();
        let shared = Arc::new(Shared {
            server,
            mode: Mutex::new(Mode::Pass),
            listening: AtomicBool::new(false),
            accepted: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
            sent: Mutex::default(),
        });
        let accepting = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || accept(&shared, port))
        };
        eventually(|| shared.listening.load(SeqCst));
        Self { port, shared, accepting: Some(accepting) }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The port of 127.0.0.1 on which it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Changes the mode.
    ///
    /// # Panics
    ///
    /// If its port cannot be had again.
    pub fn set(&self, mode: Mode) {
        *lock(&self.shared.mode) = mode;
        eventually(|| self.shared.listening.load(SeqCst) == (mode != Mode::Refuse));
    }

    /// How many connections there have been.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(SeqCst)
    }

    /// All that clients have sent so far, of each connection by itself.
    #[must_use]
    pub fn sent(&self) -> Vec<Vec<u8>> {
        lock(&self.shared.sent).clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, SeqCst);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// The mode; none if the proxy is no more.
    fn mode(&self) -> Option<Mode> {
        let mode = *lock(&self.mode);
        (!self.ended.load(SeqCst)).then_some(mode)
    }
}

fn accept(shared: &Arc<Shared>, port: u16) {
    let mut listener: Option<TcpListener> = None;
    while let Some(mode) = shared.mode() {
        if mode == Mode::Refuse {
            listener = None;
        } else if listener.is_none() {
            // It may take a moment until the port is free again.
            listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok();
            listener = listener.filter(|it| it.set_nonblocking(true).is_ok());
        }
        shared.listening.store(listener.is_some(), SeqCst);
        match listener.as_ref().map(TcpListener::accept) {
            Some(Ok((client, _))) => {
                shared.accepted.fetch_add(1, SeqCst);
                let shared = Arc::clone(shared);
                thread::spawn(move || carry(&shared, &client));
            }
            _ => thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// Carries bytes both ways until either end closes.
fn carry(shared: &Arc<Shared>, client: &TcpStream) {
    let Ok(server) = TcpStream::connect(shared.server) else { return };
    let streams = [client, &server];
    let prepared = streams.iter().all(|stream| {
        stream.set_nonblocking(false).is_ok()
            && stream.set_nodelay(true).is_ok()
            && stream.set_read_timeout(Some(GLANCE)).is_ok()
    });
    if prepared {
        thread::scope(|scope| {
            scope.spawn(|| {
                forth(shared, client, &server);
                close(streams);
            });
            back(shared, &server, client);
            close(streams);
        });
    }
}

fn close(streams: [&TcpStream; 2]) {
    for stream in streams {
        // It fails if the other end was first.
        let _ = stream.shutdown(Shutdown::Both);
    }
}

/// The next bytes and what to do with them; none if the connection is to be closed.
fn next<'c>(shared: &Shared, mut from: &TcpStream, chunk: &'c mut [u8]) -> Option<(Mode, &'c [u8])> {
    loop {
        let read = from.read(chunk);
        let mode = shared.mode().filter(|mode| *mode != Mode::Refuse)?;
        match read {
            Ok(0) => return None,
            Ok(length) => return Some((mode, &chunk[..length])),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return None,
        }
    }
}

fn forth(shared: &Shared, mut client: &TcpStream, mut server: &TcpStream) {
    let mut chunk = [0; 16 * 1024];
    let number = {
        let mut sent = lock(&shared.sent);
        sent.push(Vec::new());
        sent.len() - 1
    };
    while let Some((mode, bytes)) = next(shared, client, &mut chunk) {
        lock(&shared.sent)[number].extend_from_slice(bytes);
        let sent = match mode {
            Mode::Close => return,
            Mode::Swallow => Ok(()),
            Mode::Answer(answer) => client.write_all(answer),
            _ => server.write_all(bytes),
        };
        if sent.is_err() {
            return;
        }
    }
}

fn back(shared: &Shared, server: &TcpStream, mut client: &TcpStream) {
    let mut chunk = [0; 16 * 1024];
    let mut is_silent = false;
    while let Some((mode, bytes)) = next(shared, server, &mut chunk) {
        let sent = match mode {
            _ if is_silent => Ok(()),
            Mode::Swallow | Mode::Answer(_) | Mode::Close => Ok(()),
            Mode::Half => {
                let _ = client.write_all(&bytes[..bytes.len() / 2]);
                return;
            }
            Mode::HalfThenNothing => {
                is_silent = true;
                client.write_all(&bytes[..bytes.len() / 2])
            }
            Mode::Extra(more) => client.write_all(&[bytes, more].concat()),
            Mode::LoseOne => {
                *lock(&shared.mode) = Mode::Pass;
                return;
            }
            Mode::Drip(pause) => bytes.iter().try_for_each(|byte| {
                thread::sleep(pause);
                client.write_all(&[*byte])
            }),
            Mode::Late(delay) => {
                thread::sleep(delay);
                client.write_all(bytes)
            }
            Mode::Pass | Mode::Refuse => client.write_all(bytes),
        };
        if sent.is_err() {
            return;
        }
    }
}
