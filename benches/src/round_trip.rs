//! The least that a hit on a server can cost: the same command for the same bytes, on a connection that does
//! nothing else.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::OnceLock;

/// A connection, and what can be asked on it.
pub(crate) struct RoundTrips {
    stream: TcpStream,
    questions: Vec<Question>,
    /// Why there were no more answers.
    failure: OnceLock<io::Error>,
}

struct Question {
    bytes: Vec<u8>,
    /// How long the answer is.
    answer: usize,
}

/// More than any answer has.
const ROOM: usize = 1024;

impl RoundTrips {
    /// `mg` for each entry that the annotated function of this name has on a memcached.
    pub(crate) fn memcached(server: SocketAddr, function: &str) -> io::Result<Self> {
        let listed = said(server, b"lru_crawler metadump all\r\n", b"END\r\n")?;
        let keys = keys_of(function, &listed);
        Self::new(server, keys.map(|key| format!("mg {key} v c O1234567\r\n").into()), b"VA ")
    }

    /// `GET` for each entry that the annotated function of this name has on a Redis.
    pub(crate) fn redis(server: SocketAddr, function: &str) -> io::Result<Self> {
        let listed = said(server, b"KEYS *\r\nPING\r\n", b"+PONG\r\n")?;
        let get = |key: String| format!("*2\r\n$3\r\nGET\r\n${}\r\n{key}\r\n", key.len()).into();
        Self::new(server, keys_of(function, &listed).map(get), b"$")
    }

    fn new(server: SocketAddr, questions: impl Iterator<Item = Vec<u8>>, hit: &[u8]) -> io::Result<Self> {
        let stream = TcpStream::connect(server)?;
        stream.set_nodelay(true)?;
        let questions = questions.map(|bytes| Ok(Question { answer: length(&stream, &bytes, hit)?, bytes }));
        let questions = questions.collect::<io::Result<_>>()?;
        Ok(Self { stream, questions, failure: OnceLock::new() })
    }

    pub(crate) fn len(&self) -> usize {
        self.questions.len()
    }

    /// Asks for the value of this number.
    pub(crate) fn ask(&self, number: usize) {
        if let Err(error) = self.try_ask(&self.questions[number]) {
            // The first one is the reason for all others.
            let _ = self.failure.set(error);
        }
    }

    fn try_ask(&self, question: &Question) -> io::Result<()> {
        (&self.stream).write_all(&question.bytes)?;
        (&self.stream).read_exact(&mut [0; ROOM][..question.answer])
    }

    /// Fails if anything was not answered.
    pub(crate) fn check(&self) -> io::Result<()> {
        self.failure.get().map_or(Ok(()), |error| Err(io::Error::new(error.kind(), error.to_string())))
    }
}

/// How long the answer is, the same each time; fails if it is not that of a hit.
fn length(mut stream: &TcpStream, question: &[u8], hit: &[u8]) -> io::Result<usize> {
    stream.write_all(question)?;
    let mut answer = [0; ROOM];
    let mut length = 0;
    while !is_whole(&answer[..length]) {
        length += match stream.read(&mut answer[length..])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            more => more,
        };
    }
    if answer.starts_with(hit) && !answer.starts_with(b"$-1") {
        return Ok(length);
    }
    Err(io::Error::other(format!("no hit: {}", String::from_utf8_lossy(&answer[..length]))))
}

/// Whether this is the line of a miss or an error, or a line and as many bytes as it says.
fn is_whole(answer: &[u8]) -> bool {
    let Some(line) = answer.windows(2).position(|bytes| bytes == b"\r\n") else { return false };
    let words = String::from_utf8_lossy(&answer[..line]);
    let size = words.strip_prefix("VA ").or_else(|| words.strip_prefix('$'));
    let size = size.and_then(|words| words.split(' ').next()?.parse::<usize>().ok());
    size.is_none_or(|size| answer.len() == line + 2 + size + 2)
}

/// All that is answered until `end`.
fn said(server: SocketAddr, question: &[u8], end: &[u8]) -> io::Result<String> {
    let mut stream = TcpStream::connect(server)?;
    stream.write_all(question)?;
    let (mut answer, mut chunk) = (Vec::new(), [0; 4096]);
    while !answer.ends_with(end) {
        match stream.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            length => answer.extend_from_slice(&chunk[..length]),
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// The keys of a function's values in a list: lines that are one, or a word `key=` with its colons written as
/// `%3A`.
fn keys_of<'a>(function: &str, listed: &'a str) -> impl Iterator<Item = String> + use<'a> {
    let function = format!(":{function}:");
    let key = |line: &str| {
        let word = line.split_whitespace().next()?;
        Some(word.strip_prefix("key=").unwrap_or(word).replace("%3A", ":").replace("%3a", ":"))
    };
    let is_value = move |key: &String| key.contains(&function) && !key.ends_with(":generation");
    listed.lines().filter_map(key).filter(is_value)
}

#[cfg(test)]
mod tests {
    use cached_tests_servers::Server;

    use super::*;

    #[test]
    fn keys_are_those_of_one_function_and_of_values() {
        let dump = "key=cached%3Aone%3Av0%3A12ab exp=17 la=18\r\nkey=cached%3Aone%3Av0%3Ageneration exp=-1\r\n\
            key=cached%3Aother%3Av0%3A34cd exp=17\r\nEND\r\n";
        assert_eq!(keys_of("one", dump).collect::<Vec<_>>(), ["cached:one:v0:12ab"]);
        let reply = "*2\r\n$18\r\ncached:one:v0:12ab\r\n$24\r\ncached:one:v0:generation\r\n+PONG\r\n";
        assert_eq!(keys_of("one", reply).collect::<Vec<_>>(), ["cached:one:v0:12ab"]);
    }

    #[test]
    fn an_answer_is_whole_with_all_its_bytes() {
        for answer in ["VA 5 c7 O1\r\n12\r\n5\r\n", "$2\r\nab\r\n", "$-1\r\n", "EN\r\n", "-ERR no\r\n"] {
            assert!(is_whole(answer.as_bytes()), "{answer:?}");
            let parts = (0..answer.len()).map(|length| &answer.as_bytes()[..length]);
            assert!(parts.into_iter().all(|part| !is_whole(part)), "{answer:?}");
        }
    }

    #[test]
    fn a_server_is_asked_for_all_that_a_function_has_there() {
        let server = Server::memcached(&[]);
        for key in ["cached:one:v0:a", "cached:one:v0:b", "cached:two:v0:c"] {
            let set = format!("ms {key} 5\r\nvalue\r\n");
            assert_eq!(server.ask(set.as_bytes(), b"\r\n"), b"HD\r\n");
        }
        let trips = RoundTrips::memcached(server.address(), "one").expect("it can be asked");
        assert_eq!(trips.len(), 2);
        trips.ask(1);
        trips.check().expect("it answers");
        drop(server);
        trips.ask(0);
        assert!(trips.check().is_err());

        let server = Server::redis(&[]);
        assert_eq!(server.ask(b"MSET cached:one:v0:a value cached:two:v0:c value\r\n", b"\r\n"), b"+OK\r\n");
        let trips = RoundTrips::redis(server.address(), "one").expect("it can be asked");
        assert_eq!(trips.len(), 1);
        trips.ask(0);
        trips.check().expect("it answers");
    }
}
