//! Connections for awaited operations: one from each tokio runtime to each server, on which the commands of
//! all calls follow each other without waiting for replies.

use std::error::Error;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, ErrorKind, RedisConnectionInfo, RedisError, RedisResult, Value};
use tokio::io::{AsyncRead, AsyncWrite};
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::net::{TcpStream, lookup_host};
use tokio::runtime::{Handle, Id};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout, timeout_at};

use super::super::driver::{Answer, DriverError};
use super::config::{Address, Endpoint};
use super::node::Node;
use super::socket::share;
use super::transport::{Letter, Transport};

/// A connection on which no reply comes for so long is not used again, also if each of those who wanted one
/// gave up before its deadline.
const MOST_SILENCE: Duration = Duration::from_secs(3);

/// The connections to one server.
#[derive(Default)]
pub(super) struct Connections {
    // A connection moves on only while its runtime runs.
    by_runtime: Mutex<Vec<(Id, Arc<Making>)>>,
}

/// A connection that is being made or has been.
struct Making {
    made: watch::Receiver<Option<Result<Arc<Connection>, Failure>>>,
    maker: AbortHandle,
}

struct Connection {
    commands: MultiplexedConnection,
    /// Moves the bytes.
    carrier: AbortHandle,
    /// When commands were sent after which no reply has come yet.
    silent_since: Mutex<Option<Instant>>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        // It would otherwise wait for replies that may never come.
        self.carrier.abort();
    }
}

/// An error that all get who have waited for a connection.
#[derive(Clone)]
enum Failure {
    TimedOut,
    Unavailable(Arc<dyn Error + Send + Sync>),
    Failed(Arc<dyn Error + Send + Sync>),
}

impl From<DriverError> for Failure {
    fn from(error: DriverError) -> Self {
        match error {
            DriverError::TimedOut => Self::TimedOut,
            DriverError::Unavailable(source) => Self::Unavailable(source.into()),
            DriverError::Failed(source) => Self::Failed(source.into()),
            other => Self::Failed(Arc::new(other)),
        }
    }
}

impl From<Failure> for DriverError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::TimedOut => Self::TimedOut,
            Failure::Unavailable(source) => Self::Unavailable(source.into()),
            Failure::Failed(source) => Self::Failed(source.into()),
        }
    }
}

impl Connections {
    /// This runtime's connection, and whether it was there before.
    fn here(&self, node: &Arc<Node>) -> (Arc<Making>, bool) {
        let here = Handle::current().id();
        let mut by_runtime = self.by_runtime.lock();
        let known = by_runtime.iter().find(|(runtime, _)| *runtime == here).map(|(_, making)| making);
        if let Some(making) = known.filter(|making| !making.is_over()) {
            return (Arc::clone(making), making.made.borrow().is_some());
        }
        by_runtime.retain(|(_, making)| !making.is_over());
        let (tell, made) = watch::channel(None);
        let node = Arc::clone(node);
        let maker = tokio::spawn(async move {
            let made = timeout(node.setup.connect_timeout, connect(&node));
            let made = made.await.unwrap_or(Err(DriverError::TimedOut));
            tell.send_replace(Some(made.map(Arc::new).map_err(Failure::from)));
        });
        let making = Arc::new(Making { made, maker: maker.abort_handle() });
        by_runtime.push((here, Arc::clone(&making)));
        (making, false)
    }

    fn forget(&self, making: &Arc<Making>) {
        self.by_runtime.lock().retain(|(_, known)| !Arc::ptr_eq(known, making));
    }
}

impl Making {
    /// Whether nothing will come of it any more, be it that its runtime has ended.
    fn is_over(&self) -> bool {
        match &*self.made.borrow() {
            None => self.maker.is_finished(),
            Some(Err(_)) => true,
            Some(Ok(connection)) => connection.carrier.is_finished() || connection.is_silent(),
        }
    }

    async fn connection(&self) -> Answer<Arc<Connection>> {
        let mut made = self.made.clone();
        let made = made.wait_for(Option::is_some).await.map(|made| made.clone());
        match made {
            Ok(Some(Ok(connection))) => Ok(connection),
            Ok(Some(Err(failure))) => Err(failure.into()),
            Ok(None) | Err(_) => Err(DriverError::Unavailable("connecting was broken off".into())),
        }
    }
}

impl Connection {
    fn is_silent(&self) -> bool {
        self.silent_since.lock().is_some_and(|since| since.elapsed() > MOST_SILENCE)
    }

    async fn exchange(&self, commands: &[Cmd]) -> RedisResult<Vec<Value>> {
        self.silent_since.lock().get_or_insert_with(Instant::now);
        let replies = self.send(commands).await?;
        *self.silent_since.lock() = None;
        Ok(replies)
    }

    async fn send(&self, commands: &[Cmd]) -> RedisResult<Vec<Value>> {
        let mut connection = self.commands.clone();
        if let [command] = commands {
            return Ok(vec![connection.send_packed_command(command).await?]);
        }
        let mut pipeline = redis::pipe();
        for command in commands {
            pipeline.add_command(command.clone());
        }
        connection.send_packed_commands(&pipeline, 0, commands.len()).await
    }
}

/// Awaits, on the tokio runtime that polls.
pub(super) struct Awaiting;

impl Transport for Awaiting {
    async fn exchange(&self, node: &Arc<Node>, commands: &[Cmd], deadline: Instant) -> Answer<Vec<Value>> {
        let at = deadline.into();
        loop {
            let (making, was_there) = node.connections.here(node);
            let connection =
                timeout_at(at, making.connection()).await.map_err(|_| DriverError::TimedOut)??;
            let error = match timeout_at(at, connection.exchange(commands)).await {
                Ok(Ok(replies)) if replies.len() == commands.len() => return Ok(replies),
                Ok(Ok(_)) => DriverError::Failed("the server did not reply to each command".into()),
                Ok(Err(error)) if was_there && is_closed(&error) => {
                    node.connections.forget(&making);
                    continue;
                }
                Ok(Err(error)) => lost(error),
                Err(_) => DriverError::TimedOut,
            };
            // What is still to come on it, if anything ever is, is for nobody.
            node.connections.forget(&making);
            return Err(error);
        }
    }

    async fn exchange_each(&self, letters: &[Letter], deadline: Instant) -> Vec<Answer<Vec<Value>>> {
        all(letters.iter().map(|(node, commands)| self.exchange(node, commands, deadline))).await
    }

    async fn pause(&self, time: Duration) {
        sleep(time).await;
    }
}

/// What all of the futures come to, which are polled together.
async fn all<F: Future + Send>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    enum Slot<F: Future> {
        Awaited(Pin<Box<F>>),
        Done(F::Output),
    }
    let mut slots: Vec<_> = futures.map(|future| Slot::Awaited(Box::pin(future))).collect();
    let mut results = Vec::new();
    poll_fn(move |context| {
        let mut pending = false;
        for slot in &mut slots {
            if let Slot::Awaited(future) = slot {
                match future.as_mut().poll(context) {
                    Poll::Ready(output) => *slot = Slot::Done(output),
                    Poll::Pending => pending = true,
                }
            }
        }
        if pending {
            return Poll::Pending;
        }
        for slot in slots.drain(..) {
            if let Slot::Done(output) = slot {
                results.push(output);
            }
        }
        Poll::Ready(std::mem::take(&mut results))
    })
    .await
}

async fn connect(node: &Arc<Node>) -> Answer<Connection> {
    match &node.address {
        Address::Tcp(endpoint) => {
            let deadline = Instant::now() + node.setup.connect_timeout;
            let stream = connect_tcp(endpoint, deadline).await.map_err(unreachable)?;
            stream.set_nodelay(true).map_err(unreachable)?;
            #[cfg(feature = "tls")]
            if node.setup.tls.is_some() {
                return start(node, encrypt(node, endpoint, stream).await.map_err(unreachable)?).await;
            }
            start(node, stream).await
        }
        #[cfg(unix)]
        Address::Unix(path) => start(node, UnixStream::connect(path).await.map_err(unreachable)?).await,
    }
}

/// Each of the host's addresses gets a part of the time, so that one that is silent does not take all of it.
async fn connect_tcp(endpoint: &Endpoint, deadline: Instant) -> io::Result<TcpStream> {
    let addresses: Vec<_> = lookup_host((endpoint.host.as_str(), endpoint.port)).await?.collect();
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for (tried, address) in addresses.iter().enumerate() {
        let share = share(deadline, addresses.len() - tried);
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failure = error,
            Err(_) => failure = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(failure)
}

#[cfg(feature = "tls")]
async fn encrypt(
    node: &Arc<Node>,
    endpoint: &Endpoint,
    stream: TcpStream,
) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let node = Arc::clone(node);
    // The first time, it reads files.
    let config = tokio::task::spawn_blocking(move || match &node.setup.tls {
        Some(tls) => tls.config(),
        None => Err(io::ErrorKind::Unsupported.into()),
    });
    let connector = tokio_rustls::TlsConnector::from(config.await.map_err(io::Error::other)??);
    connector.connect(super::tls::server_name(&endpoint.host)?, stream).await
}

async fn start<S>(node: &Node, stream: S) -> Answer<Connection>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    // What is to be said first is said as on blocking connections; deadlines are kept by those who wait.
    let nothing = RedisConnectionInfo::default().set_skip_set_lib_name();
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let (commands, carrier) =
        MultiplexedConnection::new_with_config(&nothing, stream, config).await.map_err(lost)?;
    let carrier = tokio::spawn(carrier).abort_handle();
    let connection = Connection { commands, carrier, silent_since: Mutex::default() };
    let commands = node.setup.commands();
    if !commands.is_empty() {
        let replies = connection.exchange(&commands).await.map_err(lost)?;
        node.setup.check(&replies)?;
    }
    Ok(connection)
}

fn unreachable(error: io::Error) -> DriverError {
    match error.kind() {
        io::ErrorKind::TimedOut => DriverError::TimedOut,
        _ => DriverError::Unavailable(error.into()),
    }
}

fn is_closed(error: &RedisError) -> bool {
    error.is_connection_dropped() || error.is_io_error()
}

fn lost(error: RedisError) -> DriverError {
    if error.kind() == ErrorKind::Parse {
        DriverError::Failed("what came back is no reply of a Redis server".into())
    } else {
        DriverError::Unavailable(error.into())
    }
}
