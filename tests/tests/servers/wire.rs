//! What a server is sent: commands of our own, hashes and records, and never an argument.

use cached_tests::processes::Process;
use cached_tests::proxy::Proxy;
use cached_tests::servers::Server;
use cached_tests::watched;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// What a function is called with: whatever text, and what would mean something to a server.
fn texts() -> impl Strategy<Value = String> {
    let spaces = "[ \r\n\0\t]{0,3}";
    let commands = prop_oneof![
        Just("flush_all"),
        Just("ms x 1\r\nx"),
        Just("set x 0 0 1\r\nx"),
        Just("*1\r\n$8\r\nFLUSHALL"),
        Just("$-1"),
        Just("cchd"),
    ];
    prop_oneof![
        any::<String>(),
        "[ -~]{0,300}",
        (spaces, commands, spaces).prop_map(|(before, command, after)| format!("{before}{command}{after}")),
    ]
}

/// A kind of function: what a process is told so that it calls one, looks for what is stored, and forgets it; and
/// how large an argument is.
struct Way {
    call: &'static str,
    peek: &'static str,
    invalidate: &'static str,
    large: usize,
}

/// Awaited, the client of Redis begins anew with each piece of a large reply.
const WAYS: [Way; 2] = [
    Way { call: "call", peek: "peek", invalidate: "invalidate", large: 10 << 20 },
    Way { call: "await", peek: "await-peek", invalidate: "await-invalidate", large: 1 << 20 },
];

/// Calls a function in a process behind a proxy, and returns what was sent on each connection.
fn sent(server: &Server, scheme: &str, way: &Way) -> Vec<Vec<u8>> {
    let proxy = Proxy::to(server.address());
    let url = format!("{scheme}://{}?timeout=20s", proxy.address());
    let process = Process::start(env!("CARGO_BIN_EXE_process"), &url);
    let is_right = |text: &str| {
        let value = process.value(text);
        assert_eq!(process.call(way.call, text), value);
        assert_eq!(process.ask(way.peek, text), value, "it has been stored");
    };
    let large = "marker\r\n\0".repeat(way.large >> 3);
    is_right(&large);
    for text in ["", "\0", "\r\n", " ", &"\r".repeat(300)] {
        is_right(text);
        assert_eq!(process.ask(way.invalidate, text), "");
        is_right(text);
    }
    let test = |text: String| {
        // Those would wait.
        prop_assume!(!text.starts_with("held"));
        is_right(&text);
        Ok(())
    };
    TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(100) })
        .run(&texts(), test)
        .expect("each text is a key");
    proxy.sent()
}

fn is_key(bytes: &[u8]) -> bool {
    let names = [&b"cached:call:v0:"[..], b"cached:await:v0:"];
    let hash = names.iter().find_map(|name| bytes.strip_prefix(*name)).unwrap_or_default();
    hash == b"generation" || hash.len() == 32 && hash.iter().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether this is one record and nothing else, by its lengths.
fn is_record(bytes: &[u8]) -> bool {
    let counted = |at: usize| {
        let length = bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)?;
        Some(at + 4 + usize::try_from(length).ok()?)
    };
    bytes.starts_with(b"cchd") && counted(48).and_then(counted).is_some_and(|end| end + 8 == bytes.len())
}

/// What comes before the end of a line; the rest stays.
fn line<'a>(bytes: &mut &'a [u8]) -> &'a str {
    let length = bytes.windows(2).position(|end| end == b"\r\n").expect("a whole line");
    let (line, rest) = bytes.split_at(length);
    *bytes = &rest[2..];
    std::str::from_utf8(line).expect("it is text")
}

/// So many bytes and the end of a line; the rest stays.
fn block<'a>(bytes: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (block, rest) = bytes.split_at_checked(length).expect("as much as was announced");
    *bytes = rest.strip_prefix(b"\r\n").expect("the end that was announced");
    block
}

/// Whether a word is of the kind that flags and numbers are.
fn is_plain(word: &str) -> bool {
    word.len() <= 24 && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[test]
fn memcached_is_sent_nothing_but_hashes_and_records() {
    WAYS.into_iter().for_each(is_right_on_memcached);
}

fn is_right_on_memcached(way: Way) {
    watched(move || {
        let server = Server::memcached(&["-I", "32m", "-m", "256"]);
        let mut records = 0;
        for connection in sent(&server, "memcached", &way) {
            let mut rest = &connection[..];
            while !rest.is_empty() {
                let line = line(&mut rest);
                let mut parts = line.split(' ');
                let command = parts.next().expect("there is always one");
                match command {
                    "mg" | "ms" | "md" => {
                        assert!(parts.next().is_some_and(|key| is_key(key.as_bytes())), "{line:?}");
                    }
                    "mn" | "version" | "stats" => {}
                    _ => panic!("{line:?}"),
                }
                if command == "ms" {
                    let length = parts.next().and_then(|length| length.parse().ok());
                    assert!(is_record(block(&mut rest, length.expect("a length"))), "{line:?}");
                    records += 1;
                }
                assert!(parts.all(is_plain), "{line:?}");
            }
        }
        assert!(records > 100, "{records}");
    });
}

#[test]
fn redis_is_sent_nothing_but_hashes_and_records() {
    WAYS.into_iter().for_each(is_right_on_redis);
}

fn is_right_on_redis(way: Way) {
    watched(move || {
        let server = Server::redis(&[]);
        let mut records = 0;
        for connection in sent(&server, "redis", &way) {
            let mut rest = &connection[..];
            while !rest.is_empty() {
                let mut number =
                    |sign| line(&mut rest).strip_prefix(sign).and_then(|it| it.parse::<usize>().ok());
                let words = number('*').expect("a number of words");
                let mut command: Vec<&[u8]> = Vec::new();
                for _ in 0..words {
                    let length = line(&mut rest).strip_prefix('$').and_then(|it| it.parse().ok());
                    command.push(block(&mut rest, length.expect("a length")));
                }
                // A script in full is one of ours.
                let script = if command[0] == b"EVAL" { command.remove(1) } else { b"" };
                assert!(
                    script.is_empty()
                        || script.ends_with(b"\nreturn 1")
                        || script.starts_with(b"if redis.call(")
                );
                for word in &command {
                    // The version of what is expected, or of what the record is.
                    let is_version = word.len() == 8;
                    let is_stamped = word.len() > 8 && is_record(&word[8..]);
                    records += usize::from(is_stamped);
                    let is_word = std::str::from_utf8(word).is_ok_and(|it| is_plain(it) || it.len() == 40);
                    assert!(is_key(word) || is_version || is_stamped || is_word, "{}", word.escape_ascii());
                }
            }
        }
        assert!(records > 100, "{records}");
    });
}
