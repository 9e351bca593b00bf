//! `memcached+discovery://`: the list of servers changes while they are used.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use cached_runtime::Event;
use cached_runtime::backend::driver::{Driver, DriverError, Expected};
use cached_runtime::backend::memcached::{Config, Memcached};
use cached_runtime::testing;
use cached_tests::events::{heard, listen};
use cached_tests::proxy::{Mode, Proxy};
use cached_tests::servers::Server;
use cached_tests::{PATIENCE, watched};

use super::awaited::Awaiting;
use super::{At, put, shortly, soon, value};

/// An endpoint that tells a list, as `ElastiCache` does.
pub(super) struct Endpoint {
    pub(super) address: SocketAddr,
    list: Arc<Mutex<(u32, String)>>,
    asked: Arc<AtomicU32>,
}

impl Endpoint {
    /// One that knows `config get cluster`, or one of the releases before.
    pub(super) fn new(servers: &[&Server], knows_config: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint =
            Self { address: listener.local_addr().unwrap(), list: Arc::default(), asked: Arc::default() };
        endpoint.set(servers);
        let (list, asked) = (Arc::clone(&endpoint.list), Arc::clone(&endpoint.asked));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(mut stream), list, asked) = (stream, Arc::clone(&list), Arc::clone(&asked)) else {
                    return;
                };
                thread::spawn(move || {
                    let lines = BufReader::new(stream.try_clone().unwrap()).lines();
                    for line in lines.map_while(Result::ok) {
                        asked.fetch_add(1, SeqCst);
                        let (version, servers) = list.lock().unwrap().clone();
                        let text = format!("{version}\n{servers}\n");
                        let answer = match &*line {
                            "config get cluster" if knows_config => {
                                format!("CONFIG cluster 0 {}\r\n{text}\r\nEND\r\n", text.len())
                            }
                            "get AmazonElastiCache:cluster" if !knows_config => {
                                let length = text.len();
                                format!("VALUE AmazonElastiCache:cluster 0 {length}\r\n{text}\r\nEND\r\n")
                            }
                            _ => "ERROR\r\n".to_owned(),
                        };
                        let _ = stream.write_all(answer.as_bytes());
                    }
                });
            }
        });
        endpoint
    }

    pub(super) fn set(&self, servers: &[&Server]) {
        self.set_ports(servers.iter().map(|server| server.port()));
    }

    fn set_ports(&self, ports: impl Iterator<Item = u16>) {
        let servers: Vec<String> = ports.map(|port| format!("localhost|127.0.0.1|{port}")).collect();
        let mut list = self.list.lock().unwrap();
        *list = (list.0 + 1, servers.join(" "));
    }

    /// Waits until the list has been read twice from now on: once as it is now, and to the end.
    pub(super) fn until_read(&self, use_it: impl Fn()) {
        let before = self.asked.load(SeqCst);
        let begun = Instant::now();
        while self.asked.load(SeqCst) < before + 3 {
            assert!(begun.elapsed() < PATIENCE, "the list is not read again");
            use_it();
            thread::sleep(Duration::from_millis(1));
        }
    }
}

pub(super) fn discovering(address: SocketAddr) -> Memcached {
    Memcached::new(Config {
        discovery: Some(Duration::from_millis(20)),
        connect_timeout: Duration::from_secs(5),
        retry_after: Duration::from_millis(20),
        ..Config::new(vec![At::tcp("127.0.0.1", address.port())])
    })
}

/// How many commands of this kind a server has had.
pub(super) fn count(server: &Server, what: &str) -> u64 {
    let stats = String::from_utf8(server.ask(b"stats\r\n", b"END\r\n")).unwrap();
    let line = stats.lines().find_map(|line| line.strip_prefix(&format!("STAT {what} ")));
    line.unwrap().parse().unwrap()
}

#[test]
fn it_conforms_on_discovered_servers() {
    watched(|| {
        let servers: Vec<_> = (0..2).map(|_| Server::memcached(&[])).collect();
        for knows_config in [true, false] {
            let endpoint = Endpoint::new(&servers.iter().collect::<Vec<_>>(), knows_config);
            testing::conformance(|| Arc::new(discovering(endpoint.address)));
            testing::conformance(|| Arc::new(Awaiting::on_one_thread(discovering(endpoint.address))));
        }
        assert!(servers.iter().all(|server| count(server, "cmd_set") > 0));
    });
}

#[test]
fn the_list_changes_under_load_and_no_operation_fails() {
    watched(|| {
        let servers: Vec<_> = (0..3).map(|_| Server::memcached(&[])).collect();
        let lists: [&[&Server]; 4] = [
            &[&servers[0]],
            &[&servers[0], &servers[1], &servers[2]],
            &[&servers[2], &servers[1]],
            &[&servers[1]],
        ];
        let endpoint = Endpoint::new(lists[0], true);
        let driver = discovering(endpoint.address);
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            for number in 0..4 {
                let (driver, is_over) = (&driver, &is_over);
                scope.spawn(move || {
                    let mut round = 0_u32;
                    while !is_over.load(SeqCst) {
                        let key = format!("key:{number}:{}", round % 50);
                        assert!(put(driver, &key, key.as_bytes()).unwrap());
                        let found = value(driver, &key).unwrap();
                        assert!(found.is_none_or(|found| found == key.as_bytes()));
                        round += 1;
                    }
                });
            }
            for list in lists.iter().cycle().take(8) {
                endpoint.set(list);
                endpoint.until_read(|| {});
            }
            is_over.store(true, SeqCst);
        });
        // The last list counts.
        let before = count(&servers[1], "cmd_set");
        let others = count(&servers[0], "cmd_set") + count(&servers[2], "cmd_set");
        for n in 0..20 {
            assert!(put(&driver, &format!("last:{n}"), b"value").unwrap());
        }
        assert_eq!(count(&servers[1], "cmd_set") - before, 20);
        assert_eq!(count(&servers[0], "cmd_set") + count(&servers[2], "cmd_set"), others);
    });
}

#[test]
fn the_last_good_list_stays() {
    watched(|| {
        let server = Server::memcached(&[]);
        let endpoint = Endpoint::new(&[&server], true);
        let proxy = Proxy::to(endpoint.address);
        let driver = discovering(proxy.address());
        assert!(put(&driver, "key", b"value").unwrap());
        for mode in [
            Mode::Refuse,
            Mode::Close,
            Mode::Half,
            Mode::Answer(b"\xFF\0\r\n"),
            Mode::Answer(b"SERVER_ERROR no\r\n"),
            Mode::Answer(b"CONFIG cluster 0 3\r\n1\n\n\r\nEND\r\n"),
            Mode::Answer(b"CONFIG cluster 0 99999999999\r\n"),
        ] {
            proxy.set(mode);
            for _ in 0..20 {
                assert_eq!(value(&driver, "key").unwrap().as_deref(), Some(&b"value"[..]), "{mode:?}");
                thread::sleep(Duration::from_millis(3));
            }
        }
        proxy.set(Mode::Pass);
        let other = Server::memcached(&[]);
        endpoint.set(&[&other]);
        let begun = Instant::now();
        while value(&driver, "key").unwrap().is_some() {
            assert!(begun.elapsed() < PATIENCE, "the list is not read again");
        }
    });
}

#[test]
fn a_list_is_heard_of_when_it_changes_and_once_when_it_cannot_be_had() {
    watched(|| {
        listen();
        let servers = [Server::memcached(&[]), Server::memcached(&[])];
        let names = [0, 1].map(|n: usize| format!("localhost:{}", servers[n].port()));
        let endpoint = Endpoint::new(&[&servers[0]], true);
        let proxy = Proxy::to(endpoint.address);
        let driver = discovering(proxy.address());
        let use_it = || assert!(put(&driver, "key", b"value").unwrap());
        endpoint.until_read(use_it);
        let first = Event::ServersChanged { servers: vec![names[0].clone()] };
        assert_eq!(heard(&names[0]), [first], "it was read several times");
        endpoint.set(&[&servers[0], &servers[1]]);
        endpoint.until_read(use_it);
        let mut both = names.to_vec();
        both.sort();
        assert_eq!(heard(&names[1]), [Event::ServersChanged { servers: both }]);
        proxy.set(Mode::Answer(b"SERVER_ERROR nobody hears this\r\n"));
        let unknown = format!("the list of servers cannot be had: 127.0.0.1:{}:", proxy.address().port());
        cached_tests::eventually(|| {
            use_it();
            !heard(&unknown).is_empty()
        });
        let before = proxy.accepted();
        cached_tests::eventually(|| {
            use_it();
            proxy.accepted() > before + 4
        });
        assert_eq!(heard(&unknown).len(), 1);
        proxy.set(Mode::Pass);
        endpoint.until_read(use_it);
        assert_eq!(heard(&names[1]).len(), 1, "the list is the same as before");
    });
}

#[test]
fn without_a_list_it_is_unavailable_until_there_is_one() {
    watched(|| {
        let server = Server::memcached(&[]);
        let endpoint = Endpoint::new(&[&server], true);
        let proxy = Proxy::to(endpoint.address);
        proxy.set(Mode::Refuse);
        let drivers: [Box<dyn Driver>; 2] = [
            Box::new(discovering(proxy.address())),
            Box::new(Awaiting::on_one_thread(discovering(proxy.address()))),
        ];
        for driver in &drivers {
            for _ in 0..3 {
                let answer = driver.get(&["key"], soon());
                assert!(matches!(answer, Err(DriverError::Unavailable(_))), "{answer:?}");
            }
        }
        proxy.set(Mode::Swallow);
        thread::sleep(Duration::from_millis(50));
        for driver in &drivers {
            let answer = driver.set("key", b"value", None, Expected::Anything, shortly());
            assert!(matches!(answer, Err(DriverError::TimedOut)), "{answer:?}");
        }
        proxy.set(Mode::Pass);
        for driver in &drivers {
            let begun = Instant::now();
            while driver.get(&["key"], soon()).is_err() {
                assert!(begun.elapsed() < PATIENCE, "it does not come back");
            }
        }
    });
}

#[test]
fn a_dead_server_leaves_the_list_and_its_keys_go_on() {
    watched(|| {
        let mut servers: Vec<_> = (0..2).map(|_| Server::memcached(&[])).collect();
        let endpoint = Endpoint::new(&servers.iter().collect::<Vec<_>>(), true);
        let driver = discovering(endpoint.address);
        let keys: Vec<String> = (0..50).map(|n| format!("key:{n}")).collect();
        for key in &keys {
            assert!(put(&driver, key, key.as_bytes()).unwrap());
        }
        servers[0].kill();
        endpoint.set(&[&servers[1]]);
        endpoint.until_read(|| assert!(put(&driver, "key", b"value").unwrap()));
        for key in &keys {
            assert!(put(&driver, key, key.as_bytes()).unwrap());
            assert_eq!(value(&driver, key).unwrap().as_deref(), Some(key.as_bytes()));
        }
    });
}

#[test]
fn servers_that_stay_keep_their_connections() {
    watched(|| {
        let server = Server::memcached(&[]);
        let proxies = [Proxy::to(server.address()), Proxy::to(server.address())];
        let ports = || proxies.iter().map(|proxy| proxy.address().port());
        let endpoint = Endpoint::new(&[], true);
        endpoint.set_ports(ports().take(1));
        let driver = discovering(endpoint.address);
        let use_it = || {
            for key in ["a", "b", "c", "d", "e", "f"] {
                assert!(put(&driver, key, b"value").unwrap());
            }
        };
        use_it();
        for list in [ports().collect::<Vec<_>>(), ports().rev().collect()] {
            endpoint.set_ports(list.into_iter());
            endpoint.until_read(use_it);
        }
        assert_eq!(proxies.map(|proxy| proxy.accepted()), [1, 1]);
    });
}
