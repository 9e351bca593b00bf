//! How commands get to a server and replies back: blocking or awaited.

use std::future::{Future, ready};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use redis::{Cmd, Value};

use super::super::driver::{Answer, DriverError};
use super::node::Node;

/// A server, and what it is sent.
pub(super) type Letter = (Arc<Node>, Vec<Cmd>);

pub(super) trait Transport: Sync {
    /// As many replies as commands. Where the connection turns out to have been closed, they are sent again,
    /// once; so they may be done twice.
    fn exchange(
        &self,
        node: &Arc<Node>,
        commands: &[Cmd],
        deadline: Instant,
    ) -> impl Future<Output = Answer<Vec<Value>>> + Send;

    /// The same with several servers at the same time.
    fn exchange_each(
        &self,
        letters: &[Letter],
        deadline: Instant,
    ) -> impl Future<Output = Vec<Answer<Vec<Value>>>> + Send;

    fn pause(&self, time: Duration) -> impl Future<Output = ()> + Send;
}

/// Blocks the thread, so that its futures are ready when they are polled.
pub(super) struct Blocking;

impl Blocking {
    /// What a future comes to that awaits nothing but this transport.
    pub(super) fn run<T>(future: impl Future<Output = Answer<T>>) -> Answer<T> {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => answer,
            Poll::Pending => Err(DriverError::Failed("a blocking operation did not block".into())),
        }
    }
}

impl Transport for Blocking {
    fn exchange(
        &self,
        node: &Arc<Node>,
        commands: &[Cmd],
        deadline: Instant,
    ) -> impl Future<Output = Answer<Vec<Value>>> + Send {
        ready(node.exchange(commands, deadline))
    }

    fn exchange_each(
        &self,
        letters: &[Letter],
        deadline: Instant,
    ) -> impl Future<Output = Vec<Answer<Vec<Value>>>> + Send {
        let sent = letters.iter().map(|(node, commands)| {
            let mut borrowed = node.borrow(deadline)?;
            borrowed.link.send(commands, deadline)?;
            Ok(borrowed)
        });
        let sent: Vec<Answer<_>> = sent.collect();
        let received = sent.into_iter().zip(letters).map(|(sent, (node, _))| {
            let mut borrowed = sent?;
            let replies = borrowed.link.receive(deadline).inspect_err(|broken| node.distrust_idle(broken))?;
            borrowed.give_back();
            Ok(replies)
        });
        ready(received.collect())
    }

    fn pause(&self, time: Duration) -> impl Future<Output = ()> + Send {
        thread::sleep(time);
        ready(())
    }
}
