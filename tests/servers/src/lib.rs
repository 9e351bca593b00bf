//! Real servers on free ports of 127.0.0.1 or on Unix sockets, which end with the process that started them.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

/// Long enough for anything that happens at all; a test waits this long only to fail.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at what others do.
const GLANCE: Duration = Duration::from_millis(1);

/// Waits for something that other threads, or processes, do.
///
/// # Panics
///
/// If it does not happen.
pub fn eventually(condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        let waited = begun.elapsed();
        assert!(waited < PATIENCE, "it does not happen");
        // Those who do it may need the processor.
        if waited < GLANCE { thread::yield_now() } else { thread::sleep(GLANCE) }
    }
}

/// A server: killed when this is dropped, and its folder removed.
#[derive(Debug)]
pub struct Server {
    kind: Kind,
    place: Place,
    arguments: Vec<String>,
    folder: Folder,
    child: Child,
    /// None for one that has been killed.
    watchdog: Option<Watchdog>,
}

/// Kills a process when this one ends, in whatever way: also where a test hangs, and what it has is never
/// dropped.
#[derive(Debug)]
pub struct Watchdog(Child);

impl Watchdog {
    /// Over a child of this process.
    ///
    /// # Panics
    ///
    /// If there is no shell.
    #[must_use]
    pub fn over(process: &Child) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", "read -r _; kill -s KILL \"$1\"", "sh", &process.id().to_string()]);
        // Its input ends with us.
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(shell.spawn().expect("there is a shell"))
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Memcached,
    Redis,
    /// Its arguments are the lines of its configuration.
    Sentinel,
}

#[derive(Clone, Debug)]
enum Place {
    Port(u16),
    Socket(PathBuf),
}

impl Server {
    /// A memcached on a free port, for example with `["-m", "1"]`.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    #[must_use]
    pub fn memcached(arguments: &[&str]) -> Self {
        Self::on_a_free_port(Kind::Memcached, arguments)
    }

    /// A memcached on a Unix socket.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    #[must_use]
    pub fn memcached_on_a_socket(arguments: &[&str]) -> Self {
        Self::on_a_socket(Kind::Memcached, arguments)
    }

    /// A redis-server on a free port, which saves nothing, for example with `["--requirepass", "secret"]`.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    #[must_use]
    pub fn redis(arguments: &[&str]) -> Self {
        Self::on_a_free_port(Kind::Redis, arguments)
    }

    /// A redis-server on a Unix socket alone.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    #[must_use]
    pub fn redis_on_a_socket(arguments: &[&str]) -> Self {
        Self::on_a_socket(Kind::Redis, arguments)
    }

    /// A sentinel on a free port, with more lines of its configuration.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    #[must_use]
    pub fn sentinel(lines: &str) -> Self {
        Self::on_a_free_port(Kind::Sentinel, &[lines])
    }

    fn on_a_free_port(kind: Kind, arguments: &[&str]) -> Self {
        // A port that is free now may be taken before the server is there, by another test process.
        for _ in 0..20 {
            if let Some(server) = Self::start(kind, |_| Place::Port(free_port()), arguments) {
                return server;
            }
        }
        panic!("{} does not start", kind.program());
    }

    fn on_a_socket(kind: Kind, arguments: &[&str]) -> Self {
        Self::start(kind, |folder| Place::Socket(folder.join("socket")), arguments)
            .unwrap_or_else(|| panic!("{} does not start", kind.program()))
    }

    fn start(kind: Kind, place: impl FnOnce(&Path) -> Place, arguments: &[&str]) -> Option<Self> {
        let folder = Folder::new();
        let place = place(&folder.0);
        let arguments: Vec<_> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let child = kind.command(&place, &folder.0, &arguments).spawn().unwrap_or_else(|error| {
            panic!("{} cannot be started, is it installed? {error}", kind.program());
        });
        let watchdog = Some(Watchdog::over(&child));
        let mut server = Self { kind, place, arguments, folder, child, watchdog };
        server.answers().then_some(server)
    }

    /// Where it listens.
    ///
    /// # Panics
    ///
    /// If that is a Unix socket.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port()).into()
    }

    /// The port of 127.0.0.1 on which it listens.
    ///
    /// # Panics
    ///
    /// If that is a Unix socket.
    #[must_use]
    pub fn port(&self) -> u16 {
        match self.place {
            Place::Port(port) => port,
            Place::Socket(_) => panic!("it listens on a Unix socket"),
        }
    }

    /// The Unix socket on which it listens. A redis-server on a port has one as well.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.0.join("socket")
    }

    /// A folder that it has for itself, until this is dropped.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder.0
    }

    /// The server stands still (`SIGSTOP`): the machine takes connections and bytes for it, and nothing
    /// answers.
    ///
    /// # Panics
    ///
    /// If it is not running.
    pub fn pause(&self) {
        pause(&self.child);
    }

    /// It goes on after [`pause`](Self::pause).
    ///
    /// # Panics
    ///
    /// If it is not running.
    pub fn resume(&self) {
        signal(&self.child, "CONT");
    }

    /// Kills it: its connections are closed, new ones are refused.
    pub fn kill(&mut self) {
        // It fails for a process that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.watchdog = None;
        if let Place::Socket(path) = &self.place {
            let _ = fs::remove_file(path);
        }
    }

    /// Starts it again on the same port or socket, empty. It is killed first if it runs.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn restart(&mut self) {
        self.kill();
        let begun = Instant::now();
        loop {
            let mut command = self.kind.command(&self.place, &self.folder.0, &self.arguments);
            self.child = command.spawn().expect("it could be started before");
            self.watchdog = Some(Watchdog::over(&self.child));
            if self.answers() {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{} does not start again", self.kind.program());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends bytes over a connection of its own and returns all that is answered until `end`, which is
    /// included.
    ///
    /// # Panics
    ///
    /// If that is not answered.
    #[must_use]
    pub fn ask(&self, request: &[u8], end: &[u8]) -> Vec<u8> {
        self.try_ask(request, end).unwrap_or_else(|error| panic!("{:?}: {error}", self.place))
    }

    /// What a Redis or a sentinel replies to a command, as text, be it an error.
    #[must_use]
    pub fn say(&self, words: &[&str]) -> String {
        self.try_say(words).unwrap_or_else(|error| error)
    }

    /// The same, of a command that must be done.
    ///
    /// # Panics
    ///
    /// If it is not.
    pub fn tell(&self, words: &[&str]) {
        if let Err(error) = self.try_say(words) {
            panic!("{words:?}: {error}");
        }
    }

    /// The same; what is refused, or cannot be said, is an error.
    ///
    /// # Errors
    ///
    /// With what the server or the system says.
    pub fn try_say(&self, words: &[&str]) -> Result<String, String> {
        let blocks = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()));
        let request = format!("*{}\r\n{}", words.len(), blocks.collect::<Vec<_>>().concat());
        let reply = || {
            let mut stream = UnixStream::connect(self.socket())?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(request.as_bytes())?;
            reply(&mut BufReader::new(stream))
        };
        reply().unwrap_or_else(|error| Err(error.to_string()))
    }

    fn try_ask(&self, request: &[u8], end: &[u8]) -> std::io::Result<Vec<u8>> {
        match &self.place {
            // Those on a port cannot always be asked there, for instance if it is a TLS one.
            Place::Port(port) if matches!(self.kind, Kind::Memcached) => {
                ask(TcpStream::connect((Ipv4Addr::LOCALHOST, *port))?, request, end)
            }
            _ => ask(UnixStream::connect(self.socket())?, request, end),
        }
    }

    /// Waits until it answers; false if it ended instead.
    fn answers(&mut self) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return false;
            }
            if self.kind.is_ready(self, self.child.id()) {
                return true;
            }
            thread::sleep(Duration::from_millis(5));
        }
        false
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Kind {
    fn program(self) -> &'static str {
        match self {
            Self::Memcached => "memcached",
            Self::Redis | Self::Sentinel => "redis-server",
        }
    }

    fn command(self, place: &Place, folder: &Path, arguments: &[String]) -> Command {
        let mut command = Command::new(self.program());
        let path = |path: &Path| path.to_str().expect("it was made of text").to_owned();
        match (self, place) {
            (Self::Memcached, Place::Port(port)) => {
                command.args(["-l", "127.0.0.1", "-U", "0", "-p", &port.to_string()]);
            }
            (Self::Memcached, Place::Socket(socket)) => {
                command.args(["-s", &path(socket)]);
            }
            (Self::Redis, place) => {
                let port = if let Place::Port(port) = place { *port } else { 0 };
                let socket = path(&folder.join("socket"));
                command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--unixsocket", &socket]);
                command.args(["--dir", &path(folder), "--save", "", "--appendonly", "no"]);
            }
            (Self::Sentinel, place) => {
                let port = if let Place::Port(port) = place { *port } else { 0 };
                let (file, socket) = (folder.join("sentinel.conf"), path(&folder.join("socket")));
                let lines = arguments.join("\n");
                let lines = format!("port {port}\nbind 127.0.0.1\nunixsocket {socket}\n{lines}\n");
                fs::write(&file, lines).expect("there is room for a file");
                command.args([&path(&file), "--sentinel"]);
            }
        }
        // It will not run as root unless it is told to; for everybody else the option means nothing.
        if matches!(self, Self::Memcached) {
            command.args(["-u", "root"]);
        }
        if !matches!(self, Self::Sentinel) {
            command.args(arguments);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Whether it answers, and it is this process that does.
    fn is_ready(self, server: &Server, process: u32) -> bool {
        match self {
            Self::Memcached => {
                let own = format!("STAT pid {process}\r\n");
                server
                    .try_ask(b"stats\r\n", b"END\r\n")
                    .is_ok_and(|answer| String::from_utf8_lossy(&answer).contains(&own))
            }
            // Nobody else has this socket. To be refused for want of a password is an answer.
            Self::Redis | Self::Sentinel => server
                .try_ask(b"PING\r\n", b"\r\n")
                .is_ok_and(|answer| answer.starts_with(b"+PONG") || answer.starts_with(b"-NOAUTH")),
        }
    }
}

/// Lets a process stand still.
///
/// # Panics
///
/// If it does not.
pub fn pause(process: &Child) {
    signal(process, "STOP");
    // Its threads stop one after another.
    eventually(|| stands_still(process.id()));
}

/// Sends a signal, by its name without `SIG`.
///
/// # Panics
///
/// If it cannot be sent.
pub fn signal(process: &Child, signal: &str) {
    let number = process.id().to_string();
    let sent = Command::new("sh").args(["-c", "kill -s \"$1\" \"$2\"", "sh", signal, &number]).status();
    assert!(sent.is_ok_and(|status| status.success()), "SIG{signal} cannot be sent");
}

/// Whether all threads of a process are stopped, where the system tells.
fn stands_still(process: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { return true };
    let mut states = threads.flatten().map(|thread| fs::read_to_string(thread.path().join("stat")));
    // The state is the first word behind the name, which is in brackets.
    states.all(|stat| {
        stat.is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|it| it.trim().starts_with('T')))
    })
}

/// A reply of Redis as text: of several parts, one in each line.
fn reply(from: &mut impl BufRead) -> std::io::Result<Result<String, String>> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    let Some((kind, text)) = line.trim_end().split_at_checked(1) else {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    };
    let number = || text.parse::<usize>().unwrap_or_default();
    Ok(match kind {
        "-" => Err(text.to_owned()),
        // Nothing has a length of -1.
        "$" if text != "-1" => {
            let mut bytes = vec![0; number() + 2];
            from.read_exact(&mut bytes)?;
            bytes.truncate(number());
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        }
        "*" => (0..number())
            .map(|_| reply(from))
            .collect::<std::io::Result<Vec<_>>>()?
            .into_iter()
            .collect::<Result<Vec<_>, _>>()
            .map(|parts| parts.join("\n")),
        _ => Ok(text.to_owned()),
    })
}

fn ask(mut stream: impl Read + Write, request: &[u8], end: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.write_all(request)?;
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    while !answer.ends_with(end) {
        match stream.read(&mut chunk)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            length => answer.extend_from_slice(&chunk[..length]),
        }
    }
    Ok(answer)
}

/// A port of 127.0.0.1 on which nobody listens, and which no client's end of a connection takes by chance: it
/// is still there for a server that was killed and starts again. Another 10,000 above it is free as well (a
/// redis cluster wants one).
///
/// # Panics
///
/// If there is none.
#[must_use]
pub fn free_port() -> u16 {
    const FIRST: u16 = 10_000;
    const COUNT: u16 = 10_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let is_free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    // Test processes that run side by side begin at different places.
    let begin = process::id().wrapping_mul(7919);
    for _ in 0..COUNT {
        let number = (begin + u32::from(NEXT.fetch_add(1, Relaxed))) % u32::from(COUNT);
        let port = FIRST + u16::try_from(number).expect("it is below the count");
        if is_free(port) && is_free(port + 10_000) {
            return port;
        }
    }
    panic!("no port is free");
}

/// An empty folder, removed with what is in it when this is dropped.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// A new one.
    ///
    /// # Panics
    ///
    /// If it cannot be made.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it makes something outside the process")]
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("cached-tests-{}-{}", process::id(), NEXT.fetch_add(1, Relaxed));
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("there is room for a folder");
        Self(path)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
