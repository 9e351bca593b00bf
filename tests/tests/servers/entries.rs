//! What lies on a server as one entry, and what is made of it when a bit of it is another.

use std::cell::OnceCell;

use cached_tests::processes::Process;
use cached_tests::servers::Server;
use cached_tests::{eventually, watched};

/// The key of the one entry that a process has stored, and the process.
fn stored(url: &str, keys: impl Fn() -> String) -> (Process, String) {
    let process = Process::start(env!("CARGO_BIN_EXE_process"), &format!("{url}?timeout=20s"));
    assert_eq!(process.call("call", "key"), process.value("key"));
    assert_eq!(process.ask("peek", "key"), process.value("key"));
    let entry = || {
        let keys = keys();
        let is_entry = |key: &&str| key.starts_with("cached:call:v0:") && !key.ends_with("generation");
        keys.split(['\n', ' ', '=']).find(is_entry).map(str::to_owned)
    };
    // memcached lists them in its own time.
    let found = OnceCell::new();
    eventually(|| entry().is_some_and(|key| found.set(key).is_ok()));
    (process, found.into_inner().expect("it was set"))
}

#[test]
fn every_flipped_bit_on_memcached_is_a_miss() {
    watched(|| {
        let server = Server::memcached(&[]);
        let dump = || {
            let dump = server.ask(b"lru_crawler metadump all\r\n", b"END\r\n");
            String::from_utf8(dump).expect("it is text").replace("%3A", ":")
        };
        let (process, key) = stored(&format!("memcached://{}", server.address()), dump);
        let answer = server.ask(format!("mg {key} v\r\n").as_bytes(), b"\r\n");
        let length =
            String::from_utf8_lossy(&answer).split(['\r', ' ']).nth(1).and_then(|it| it.parse().ok());
        let length: usize = length.expect("a length");
        let record = &answer[answer.len() - 2 - length..answer.len() - 2];
        let put = |record: &[u8]| {
            let command = format!("ms {key} {length}\r\n").into_bytes();
            assert_eq!(server.ask(&[&command, record, b"\r\n"].concat(), b"\r\n"), b"HD\r\n");
        };
        for bit in 0..length * 8 {
            let mut flipped = record.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            put(&flipped);
            assert_eq!(process.ask("peek", "key"), "", "bit {bit}");
        }
        put(record);
        assert_eq!(process.ask("peek", "key"), process.value("key"));
    });
}

#[test]
fn every_flipped_bit_on_redis_is_a_miss() {
    /// The version is no part of the record: with another one it is the same value, stored at another time.
    const VERSION: usize = 8 * 8;
    watched(|| {
        let server = Server::redis(&[]);
        let (process, key) = stored(&format!("redis://{}", server.address()), || server.say(&["KEYS", "*"]));
        let bits = 8 * server.say(&["STRLEN", &key]).parse::<usize>().expect("a length");
        for bit in 0..bits {
            let at = bit.to_string();
            let (old, new) = if server.say(&["GETBIT", &key, &at]) == "0" { ("0", "1") } else { ("1", "0") };
            server.tell(&["SETBIT", &key, &at, new]);
            let expected = if bit < VERSION { process.value("key") } else { String::new() };
            assert_eq!(process.ask("peek", "key"), expected, "bit {bit}");
            server.tell(&["SETBIT", &key, &at, old]);
        }
        assert_eq!(process.ask("peek", "key"), process.value("key"));
    });
}
