//! Servers of a test's own, on free ports, that end with it.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use redis::{ConnectionAddr, ConnectionLike, IntoConnectionInfo, Value};

use super::eventually;

/// A directory that is removed with its owner.
pub(super) struct Directory(PathBuf);

impl Directory {
    pub(super) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("cached-redis-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A port that nobody listens on, nor on the one that a cluster's node uses beside it. Both are below those
/// from which connections are made.
pub(super) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 12_000 + u16::try_from((std::process::id() * 101 + step) % 10_000).expect("small");
        if TcpListener::bind(("127.0.0.1", port)).is_ok()
            && TcpListener::bind(("127.0.0.1", port + 10_000)).is_ok()
        {
            return port;
        }
    }
}

pub(super) struct Server {
    pub(super) port: u16,
    pub(super) directory: Directory,
    arguments: Vec<String>,
    child: Option<Child>,
}

impl Server {
    pub(super) fn start(arguments: &[&str]) -> Self {
        let mut server = Self::prepare(arguments);
        server.restart();
        server
    }

    /// One that does not run yet.
    pub(super) fn prepare(arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|&argument| argument.into()).collect();
        Self { port: free_port(), directory: Directory::new(), arguments, child: None }
    }

    pub(super) fn restart(&mut self) {
        self.kill();
        let child = Command::new("redis-server")
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"])
            .arg(self.directory.path())
            .args(&self.arguments)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        self.child = Some(child);
        let port = self.port;
        eventually("a server", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    }

    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub(super) fn stop(&self) {
        self.signal("-STOP");
    }

    pub(super) fn go_on(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let child = self.child.as_ref().expect("it runs");
        let status = Command::new("kill").args([signal, &child.id().to_string()]).status();
        assert!(status.expect("kill is there").success());
    }

    /// What a plain client is replied.
    pub(super) fn ask(&self, words: &[&str]) -> Value {
        self.try_ask(words).expect("a reply")
    }

    pub(super) fn try_ask(&self, words: &[&str]) -> redis::RedisResult<Value> {
        let address = ConnectionAddr::Tcp("127.0.0.1".into(), self.port).into_connection_info()?;
        let client = redis::Client::open(address)?;
        let mut connection = client.get_connection_with_timeout(Duration::from_secs(20))?;
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        connection.req_command(&command)
    }

    /// The same, as text.
    pub(super) fn say(&self, words: &[&str]) -> String {
        match self.try_ask(words) {
            Ok(Value::BulkString(bytes)) => String::from_utf8_lossy(&bytes).into(),
            Ok(Value::SimpleString(text)) => text,
            Ok(Value::Int(number)) => number.to_string(),
            Ok(Value::Okay) => "OK".into(),
            other => format!("{other:?}"),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
