//! The awaited operations, on tokio and elsewhere.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cached_runtime::backend::driver::{Answer, Driver, DriverError, Expected, Found};
use cached_runtime::backend::memcached::Memcached;
use cached_runtime::testing;
use cached_tests::proxy::{Mode, Proxy};
use cached_tests::servers::Server;
use cached_tests::watched;
use tokio::runtime::{Builder, Runtime};

use super::{At, at, driver, put, soon, through, value};

/// A driver whose operations are the awaited ones.
pub(super) struct Awaiting {
    driver: Arc<Memcached>,
    runtime: Runtime,
}

impl Awaiting {
    pub(super) fn on_one_thread(driver: Memcached) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        Self { driver: Arc::new(driver), runtime }
    }

    pub(super) fn on_threads(driver: Memcached) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        Self { driver: Arc::new(driver), runtime }
    }
}

impl Driver for Awaiting {
    fn get(&self, keys: &[&str], deadline: Instant) -> Answer<Vec<Option<Found>>> {
        let keys = keys.iter().map(ToString::to_string).collect();
        self.runtime.block_on(async { Arc::clone(&self.driver).get_async(keys, deadline).await })
    }

    fn set(
        &self,
        key: &str,
        value: &[u8],
        ttl: Option<Duration>,
        expected: Expected,
        deadline: Instant,
    ) -> Answer<bool> {
        let (key, value) = (key.to_owned(), value.to_vec());
        let driver = Arc::clone(&self.driver);
        self.runtime.block_on(async { driver.set_async(key, value, ttl, expected, deadline).await })
    }

    fn delete(&self, key: &str, expected: Expected, deadline: Instant) -> Answer<bool> {
        let key = key.to_owned();
        self.runtime.block_on(async { Arc::clone(&self.driver).delete_async(key, expected, deadline).await })
    }
}

#[test]
fn it_conforms_awaited_on_tokio() {
    watched(|| {
        let server = Server::memcached(&[]);
        testing::conformance(|| Arc::new(Awaiting::on_one_thread(driver(vec![at(&server)]))));
        testing::conformance(|| Arc::new(Awaiting::on_threads(driver(vec![at(&server)]))));
    });
}

#[test]
fn it_conforms_awaited_on_a_unix_socket_and_on_several_servers() {
    watched(|| {
        let server = Server::memcached_on_a_socket(&[]);
        testing::conformance(|| Arc::new(Awaiting::on_one_thread(driver(vec![At::unix(server.socket())]))));
        let servers: Vec<_> = (0..3).map(|_| Server::memcached(&[])).collect();
        testing::conformance(|| Arc::new(Awaiting::on_one_thread(driver(servers.iter().map(at).collect()))));
    });
}

#[test]
fn it_conforms_where_there_is_no_network_of_tokio() {
    watched(|| {
        let server = Server::memcached(&[]);
        let open = || -> Arc<dyn Driver> { Arc::new(driver(vec![at(&server)])) };
        smol::block_on(async { testing::conformance_of_twins(&open()).await });
        let without_network = Builder::new_multi_thread().worker_threads(1).build().unwrap();
        without_network.block_on(async { testing::conformance_of_twins(&open()).await });
    });
}

#[test]
fn one_driver_serves_several_runtimes_and_outlives_them() {
    watched(|| {
        let server = Server::memcached(&[]);
        let driver = Arc::new(driver(vec![at(&server)]));
        for round in 0..3 {
            std::thread::scope(|scope| {
                for number in 0..4 {
                    let driver = Arc::clone(&driver);
                    scope.spawn(move || {
                        let key = format!("key:{round}:{number}");
                        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
                        runtime.block_on(async {
                            let set = Arc::clone(&driver).set_async(
                                key.clone(),
                                key.clone().into_bytes(),
                                None,
                                Expected::Anything,
                                soon(),
                            );
                            assert!(set.await.unwrap());
                            let found = Arc::clone(&driver).get_async(vec![key.clone()], soon()).await;
                            let found = found.unwrap().remove(0);
                            assert_eq!(found.map(|it| it.value), Some(key.into_bytes()));
                        });
                    });
                }
            });
        }
        assert_eq!(value(&*driver, "key:2:3").unwrap().as_deref(), Some(&b"key:2:3"[..]));
    });
}

#[test]
fn many_tasks_share_a_connection() {
    watched(|| {
        let server = Server::memcached(&[]);
        let proxy = Proxy::to(server.address());
        let driver = Arc::new(driver(vec![through(&proxy)]));
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let task = |number: usize| {
                let driver = Arc::clone(&driver);
                async move {
                    let key = format!("key:{number}");
                    let value = key.repeat(number);
                    let set = Arc::clone(&driver).set_async(
                        key.clone(),
                        value.clone().into_bytes(),
                        None,
                        Expected::Nothing,
                        soon(),
                    );
                    assert!(set.await.unwrap());
                    let found = driver.get_async(vec!["nothing".to_owned(), key], soon()).await.unwrap();
                    assert_eq!(found[0], None);
                    assert_eq!(found[1].as_ref().map(|it| &*it.value), Some(value.as_bytes()));
                }
            };
            let tasks: Vec<_> = (1..200).map(|number| tokio::spawn(task(number))).collect();
            for task in tasks {
                task.await.unwrap();
            }
        });
        assert_eq!(proxy.accepted(), 1);
    });
}

#[test]
fn a_future_that_is_dropped_midway_harms_nobody() {
    watched(|| {
        let server = Server::memcached(&[]);
        let proxy = Proxy::to(server.address());
        let driver = Awaiting::on_one_thread(driver(vec![through(&proxy)]));
        assert!(put(&driver, "key", b"value").unwrap());
        proxy.set(Mode::Late(Duration::from_millis(20)));
        for _ in 0..5 {
            driver.runtime.block_on(async {
                let get = Arc::clone(&driver.driver).get_async(vec!["other".to_owned()], soon());
                let given_up = tokio::time::timeout(Duration::from_millis(5), get).await;
                assert!(given_up.is_err());
            });
            assert_eq!(value(&driver, "key").unwrap().as_deref(), Some(&b"value"[..]));
        }
    });
}

/// A connection that stands still takes its commands with it, and nothing else.
#[test]
fn commands_behind_a_late_one_are_asked_again() {
    watched(|| {
        let server = Server::memcached(&[]);
        let proxy = Proxy::to(server.address());
        let driver = Awaiting::on_one_thread(driver(vec![through(&proxy)]));
        assert!(put(&driver, "key", b"value").unwrap());
        proxy.set(Mode::Swallow);
        let get = |deadline| Arc::clone(&driver.driver).get_async(vec!["key".to_owned()], deadline);
        driver.runtime.block_on(async {
            let hurried = tokio::spawn(get(Instant::now() + Duration::from_millis(50)));
            let patient = tokio::spawn(get(soon()));
            let hurried = hurried.await.unwrap();
            assert!(matches!(hurried, Err(DriverError::TimedOut)), "{hurried:?}");
            proxy.set(Mode::Pass);
            // It may have been sent again before the proxy let it pass, and will not be sent a third time.
            let second = tokio::time::timeout(Duration::from_millis(50), patient).await;
            assert!(second.is_err() || second.unwrap().unwrap().unwrap()[0].is_some());
        });
        assert_eq!(value(&driver, "key").unwrap().as_deref(), Some(&b"value"[..]));
    });
}

#[test]
fn a_restart_costs_tasks_no_failure() {
    watched(|| {
        let mut server = Server::memcached(&[]);
        let driver = Awaiting::on_threads(driver(vec![at(&server)]));
        for _ in 0..3 {
            assert!(put(&driver, "key", b"value").unwrap());
            server.restart();
            assert_eq!(value(&driver, "key").unwrap(), None);
            assert!(driver.set("key", b"new", None, Expected::Nothing, soon()).unwrap());
        }
    });
}
