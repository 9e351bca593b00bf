//! The servers and the proxy that other tests rely on.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use cached_tests::proxy::{Mode, Proxy};
use cached_tests::servers::Server;
use cached_tests::{PATIENCE, watched};

#[test]
fn servers_answer_and_are_empty_after_a_restart() {
    watched(|| {
        for mut server in [Server::memcached(&[]), Server::memcached_on_a_socket(&[])] {
            assert_eq!(server.ask(b"ms key 5\r\nvalue\r\n", b"\r\n"), b"HD\r\n");
            assert_eq!(server.ask(b"mg key v\r\n", b"value\r\n"), b"VA 5\r\nvalue\r\n");
            server.restart();
            assert_eq!(server.ask(b"mg key v\r\n", b"\r\n"), b"EN\r\n");
        }
        for mut server in [Server::redis(&[]), Server::redis_on_a_socket(&[])] {
            assert_eq!(server.ask(b"SET key value\r\n", b"\r\n"), b"+OK\r\n");
            server.restart();
            assert_eq!(server.ask(b"GET key\r\n", b"\r\n"), b"$-1\r\n");
        }
    });
}

#[test]
fn a_server_that_stands_still_answers_when_it_goes_on() {
    watched(|| {
        let server = Server::memcached(&[]);
        server.pause();
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        stream.write_all(b"mn\r\n").unwrap();
        let mut answer = [0; 4];
        assert!(stream.read(&mut answer).is_err());
        server.resume();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"MN\r\n");
    });
}

/// What comes back before the connection is closed or nothing has come for a while.
fn answer(stream: &mut TcpStream) -> Vec<u8> {
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut answer = Vec::new();
    let mut byte = [0];
    while stream.write_all(b"").is_ok() && matches!(stream.read(&mut byte), Ok(1)) {
        answer.push(byte[0]);
    }
    answer
}

#[test]
fn the_proxy_does_what_its_mode_says() {
    watched(|| {
        let server = Server::memcached(&[]);
        let proxy = Proxy::to(server.address());
        let ask = || {
            let mut stream = TcpStream::connect(proxy.address())?;
            stream.write_all(b"mn\r\n")?;
            Ok::<_, std::io::Error>(answer(&mut stream))
        };
        let drip = Mode::Drip(Duration::from_millis(1));
        let late = Mode::Late(Duration::from_millis(1));
        for (mode, expected) in [
            (Mode::Pass, &b"MN\r\n"[..]),
            (Mode::Swallow, b""),
            (drip, b"MN\r\n"),
            (late, b"MN\r\n"),
            (Mode::Answer(b"\0no\xFF"), b"\0no\xFF"),
            (Mode::Half, b"MN"),
            (Mode::HalfThenNothing, b"MN"),
            (Mode::Extra(b"more"), b"MN\r\nmore"),
            (Mode::LoseOne, b""),
            (Mode::Close, b""),
        ] {
            proxy.set(mode);
            assert_eq!(ask().unwrap(), expected, "{mode:?}");
        }
        proxy.set(Mode::LoseOne);
        assert_eq!((ask().unwrap(), ask().unwrap()), (b"".to_vec(), b"MN\r\n".to_vec()));
        assert_eq!(proxy.sent(), vec![b"mn\r\n"; proxy.accepted()]);
        let before = proxy.accepted();
        proxy.set(Mode::Refuse);
        assert!(ask().is_err());
        proxy.set(Mode::Pass);
        assert_eq!(ask().unwrap(), b"MN\r\n");
        assert_eq!(proxy.accepted() - before, 1);
    });
}
