//! One blocking connection.

use std::io::{self, ErrorKind, Read, Write};
use std::mem;
use std::time::Instant;

use redis::{Cmd, ServerError, Value};

use super::super::driver::{Answer, DriverError};
use super::config::Address;
use super::reply::{is_full, refused};
use super::setup::Setup;
use super::socket::Socket;
use super::wire::{Extent, extent, value};

/// What a connection keeps allocated while nobody uses it.
const KEPT: usize = 64 << 10;
const FIRST_READ: usize = 8 << 10;

pub(super) struct Link {
    socket: Socket,
    /// What is being sent.
    output: Vec<u8>,
    /// What has come begins it; the rest is room.
    input: Vec<u8>,
    come: usize,
    /// Replies that have not come yet.
    owed: usize,
    /// Nothing has been replied on it.
    pub(super) is_new: bool,
}

/// Why there are no replies. The connection is of no use afterwards.
pub(super) enum Broken {
    TimedOut,
    /// It was closed before anything came back: as happens to one that was idle.
    Stale(io::Error),
    Lost(io::Error),
    Garbled,
    /// The server takes no more connections, and has closed this one.
    Full(ServerError),
}

impl From<Broken> for DriverError {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::TimedOut => Self::TimedOut,
            Broken::Stale(error) | Broken::Lost(error) => Self::Unavailable(error.into()),
            Broken::Full(error) => refused(&error),
            Broken::Garbled => Self::Failed("what came back is no reply of a Redis server".into()),
        }
    }
}

impl Link {
    pub(super) fn connect(address: &Address, setup: &Setup, deadline: Instant) -> Answer<Self> {
        let socket = Socket::connect(address, setup, deadline).map_err(|error| match error.kind() {
            ErrorKind::TimedOut => DriverError::TimedOut,
            _ => DriverError::Unavailable(error.into()),
        })?;
        let mut link =
            Self { socket, output: Vec::new(), input: vec![0; FIRST_READ], come: 0, owed: 0, is_new: true };
        let commands = setup.commands();
        if !commands.is_empty() {
            let replies = link.exchange(&commands, deadline)?;
            setup.check(&replies)?;
        }
        Ok(link)
    }

    /// Whether the next reply that comes is to the next command that is sent.
    pub(super) fn is_settled(&self) -> bool {
        self.owed == 0 && self.come == 0
    }

    pub(super) fn exchange(&mut self, commands: &[Cmd], deadline: Instant) -> Result<Vec<Value>, Broken> {
        self.send(commands, deadline)?;
        self.receive(deadline)
    }

    pub(super) fn send(&mut self, commands: &[Cmd], deadline: Instant) -> Result<(), Broken> {
        self.socket.set_deadline(deadline);
        self.owed = commands.len();
        self.output.clear();
        for command in commands {
            command.write_packed_command(&mut self.output);
        }
        let sent = self.socket.write_all(&self.output).and_then(|()| self.socket.flush());
        self.output.clear();
        self.output.shrink_to(KEPT);
        match sent {
            // A server that closes the connection over what it was sent may have said why.
            Err(error) if is_closed(&error) => Ok(()),
            Err(error) if error.kind() == ErrorKind::TimedOut => Err(Broken::TimedOut),
            Err(error) => Err(Broken::Stale(error)),
            Ok(()) => Ok(()),
        }
    }

    /// The replies to all that was sent.
    pub(super) fn receive(&mut self, deadline: Instant) -> Result<Vec<Value>, Broken> {
        self.socket.set_deadline(deadline);
        let mut replies = Vec::with_capacity(self.owed);
        let mut at = 0;
        while self.owed > 0 {
            match extent(&self.input[at..self.come]).map_err(|_| Broken::Garbled)? {
                Extent::Whole(length) => {
                    let reply = value(&self.input[at..at + length]);
                    let reply = reply.map_err(|_| Broken::Garbled)?;
                    if mem::take(&mut self.is_new)
                        && let Value::ServerError(error) = &reply
                        && is_full(error)
                    {
                        return Err(Broken::Full(error.clone()));
                    }
                    replies.push(reply);
                    at += length;
                    self.owed -= 1;
                }
                Extent::AtLeast(length) => self.read(at + length, replies.is_empty())?,
            }
        }
        // Whatever is left was not asked for.
        self.come -= at;
        self.keep_little();
        Ok(replies)
    }

    /// The next that comes, of a server that speaks also when it was not asked.
    pub(super) fn hear(&mut self, deadline: Instant) -> Result<Value, Broken> {
        self.socket.set_deadline(deadline);
        loop {
            match extent(&self.input[..self.come]).map_err(|_| Broken::Garbled)? {
                Extent::Whole(length) => {
                    let heard = value(&self.input[..length]);
                    self.input.copy_within(length..self.come, 0);
                    self.come -= length;
                    self.keep_little();
                    return heard.map_err(|_| Broken::Garbled);
                }
                Extent::AtLeast(length) => self.read(length, false)?,
            }
        }
    }

    fn keep_little(&mut self) {
        if self.come == 0 && self.input.len() > KEPT {
            self.input.truncate(FIRST_READ);
            self.input.shrink_to(FIRST_READ);
        }
    }

    /// Reads more, of a reply that ends at `wanted` or later.
    fn read(&mut self, wanted: usize, is_first: bool) -> Result<(), Broken> {
        if self.come == self.input.len() {
            // No more at once than has come already, whatever was announced.
            let length = wanted.clamp(self.come + FIRST_READ, self.come * 2 + FIRST_READ);
            self.input.resize(length, 0);
        }
        match self.socket.read(&mut self.input[self.come..]) {
            Ok(0) => Err(self.closed(ErrorKind::UnexpectedEof.into(), is_first)),
            Ok(length) => {
                self.come += length;
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::TimedOut => Err(Broken::TimedOut),
            Err(error) if is_closed(&error) => Err(self.closed(error, is_first)),
            Err(error) => Err(Broken::Lost(error)),
        }
    }

    fn closed(&self, error: io::Error, is_first: bool) -> Broken {
        if is_first && self.come == 0 { Broken::Stale(error) } else { Broken::Lost(error) }
    }
}

fn is_closed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::BrokenPipe
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::NotConnected
            | ErrorKind::UnexpectedEof
            | ErrorKind::WriteZero
    )
}
