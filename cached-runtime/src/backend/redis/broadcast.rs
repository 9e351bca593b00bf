//! Messages between processes: what a connection hears that does nothing else.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::Value;

use super::super::broadcast::{Carrier, Heard};
use super::super::driver::{Answer, DriverError};
use super::super::generation::random;
use super::link::{Broken, Link};
use super::node::Node;
use super::reply::refused;
use super::transport::Blocking;
use super::{Redis, command};

/// After so long without a message, the server is asked whether it is there.
const SILENCE: Duration = Duration::from_secs(1);
/// And it must answer within this time.
const MOST_SILENCE: Duration = Duration::from_secs(3);

impl Carrier for Redis {
    fn listen(&self, hear: &mut dyn FnMut(Heard<'_>)) -> DriverError {
        match self.listen_while_heard(hear) {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }
}

impl Redis {
    fn listen_while_heard(&self, hear: &mut dyn FnMut(Heard<'_>)) -> Answer<Infallible> {
        let Some(voice) = &self.voice else {
            return Err(DriverError::Failed("there is nothing to listen to".into()));
        };
        let deadline = Instant::now() + self.router.setup.connect_timeout;
        let node = self.any_node(deadline)?;
        let mut link = Link::connect(&node.address, &node.setup, deadline)?;
        // Whoever may not tell is told so here, once.
        let commands = [command::publish(&voice.channel, ""), command::subscribe(&voice.channel)];
        link.send(&commands, deadline)?;
        for _ in commands {
            if let Value::ServerError(error) = link.hear(deadline)? {
                return Err(refused(&error));
            }
        }
        hear(Heard::Connected);
        let mut is_asked = false;
        loop {
            let patience = if is_asked { MOST_SILENCE } else { SILENCE };
            match link.hear(Instant::now() + patience) {
                Ok(heard) => {
                    is_asked = false;
                    if let Some(message) = message(&heard) {
                        hear(Heard::Message(message));
                    }
                }
                Err(Broken::TimedOut) if !is_asked => {
                    if !self.router.has(&node) {
                        return Err(DriverError::Unavailable("another server has taken over".into()));
                    }
                    link.send(&[redis::cmd("PING")], Instant::now() + MOST_SILENCE)?;
                    is_asked = true;
                }
                Err(broken) => return Err(broken.into()),
            }
        }
    }

    /// Each node carries all messages. Which one has failed is found out by those who ask for keys.
    fn any_node(&self, deadline: Instant) -> Answer<Arc<Node>> {
        let map = Blocking::run(self.router.learn(&Blocking, deadline))?;
        let count = map.nodes().count().max(1);
        let chosen = usize::try_from(random() % count as u128).unwrap_or(0);
        let node = map.nodes().nth(chosen).cloned();
        node.ok_or_else(|| DriverError::Unavailable("no server is known".into()))
    }
}

/// What was told, if this is a message.
fn message(heard: &Value) -> Option<&[u8]> {
    let Value::Array(parts) = heard else { return None };
    match parts.as_slice() {
        [Value::BulkString(kind), _, Value::BulkString(message)] if kind == b"message" => Some(message),
        _ => None,
    }
}
