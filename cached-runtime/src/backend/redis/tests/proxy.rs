//! A proxy that does to connections what networks do.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// Connections are closed as they are made.
    Refusal,
    /// Nothing goes through.
    Silence,
    /// Replies come byte by byte, too slowly.
    Drip,
    /// Replies are replaced by what is none.
    Garbage,
    /// Half of a reply, and then the end.
    Half,
    /// Half of a reply, and then nothing.
    HalfThenSilence,
    /// A reply too many.
    Extra,
    /// The request goes through, and then the connection is closed; but for this once.
    LostReply,
}

pub(super) struct Proxy {
    pub(super) port: u16,
    /// How many connections have been made.
    pub(super) made: Arc<AtomicU32>,
    fault: Arc<Mutex<Fault>>,
}

impl Proxy {
    pub(super) fn to(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let fault = Arc::new(Mutex::new(Fault::None));
        let proxy = Self {
            port: listener.local_addr().expect("an address").port(),
            made: Arc::default(),
            fault: Arc::clone(&fault),
        };
        let made = Arc::clone(&proxy.made);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                made.fetch_add(1, Ordering::Relaxed);
                if *fault.lock() == Fault::Refusal {
                    continue;
                }
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                for stream in [&client, &server] {
                    let _ = stream.set_nodelay(true);
                }
                let (Ok(from_client), Ok(to_server)) = (client.try_clone(), server.try_clone()) else {
                    continue;
                };
                let (requests, replies) = (Arc::clone(&fault), Arc::clone(&fault));
                thread::spawn(move || {
                    forward(from_client, to_server, |_, bytes| request(&requests, bytes));
                });
                thread::spawn(move || {
                    forward(server, client, |client, bytes| reply(&replies, client, bytes));
                });
            }
        });
        proxy
    }

    pub(super) fn set(&self, fault: Fault) {
        *self.fault.lock() = fault;
    }
}

/// What becomes of bytes: what is sent on, and whether the connection stays.
type Fate = (Vec<u8>, bool);

fn forward(mut from: TcpStream, mut to: TcpStream, fate: impl Fn(&mut TcpStream, &[u8]) -> Fate) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let (bytes, stays) = fate(&mut to, &buffer[..length]);
        if to.write_all(&bytes).is_err() || !stays {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

fn request(fault: &Mutex<Fault>, bytes: &[u8]) -> Fate {
    match *fault.lock() {
        Fault::Silence => (Vec::new(), true),
        _ => (bytes.into(), true),
    }
}

fn reply(fault: &Mutex<Fault>, client: &mut TcpStream, bytes: &[u8]) -> Fate {
    let mut fault = fault.lock();
    match *fault {
        Fault::None => (bytes.into(), true),
        Fault::Refusal => (Vec::new(), false),
        Fault::Silence => (Vec::new(), true),
        Fault::Garbage => (b"HTTP/1.1 400 Bad Request\r\n\r\n".into(), true),
        Fault::Half => (bytes[..bytes.len() / 2].into(), false),
        Fault::HalfThenSilence => {
            *fault = Fault::Silence;
            (bytes[..bytes.len() / 2].into(), true)
        }
        Fault::Extra => ([bytes, b"$9\r\nVERSION!z\r\n"].concat(), true),
        Fault::LostReply => {
            *fault = Fault::None;
            (Vec::new(), false)
        }
        Fault::Drip => {
            drop(fault);
            for byte in bytes {
                thread::sleep(Duration::from_millis(40));
                if client.write_all(&[*byte]).is_err() {
                    return (Vec::new(), false);
                }
            }
            (Vec::new(), true)
        }
    }
}
