//! Against real servers, each way that the driver can be used.

mod cluster;
mod contract;
mod faults;
mod proxy;
mod secured;
mod sentinel;
mod servers;
mod speed;
mod standalone;

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::driver::{Answer, Driver, DriverError, Expected, Found, Version};
use super::{Address, Config, Endpoint, Redis, Topology};

const LONG: Duration = Duration::from_secs(20);

fn config(topology: Topology) -> Config {
    Config {
        topology,
        user: None,
        password: None,
        database: 0,
        connect_timeout: Duration::from_secs(10),
        #[cfg(feature = "tls")]
        tls: None,
    }
}

fn endpoint(port: u16) -> Endpoint {
    Endpoint { host: "127.0.0.1".into(), port }
}

fn standalone(port: u16) -> Config {
    config(Topology::Standalone(Address::Tcp(endpoint(port))))
}

/// Runs the suite that every driver must pass, also on tokio.
fn conforms(config: &Config) {
    let open = || -> Arc<dyn Driver> { Arc::new(Redis::new(config.clone())) };
    #[cfg(feature = "testing")]
    crate::testing::conformance(open);
    #[cfg(all(feature = "testing", feature = "tokio"))]
    for builder in
        [&mut tokio::runtime::Builder::new_current_thread(), &mut tokio::runtime::Builder::new_multi_thread()]
    {
        let runtime = builder.enable_all().build().expect("a runtime");
        runtime.block_on(crate::testing::conformance_of_twins(&open()));
    }
    #[cfg(all(feature = "testing", feature = "tokio"))]
    for builder in [
        &mut tokio::runtime::Builder::new_current_thread(),
        tokio::runtime::Builder::new_current_thread().enable_io(),
    ] {
        // Connections cannot be on these.
        let runtime = builder.build().expect("a runtime");
        runtime.block_on(crate::testing::conformance_of_twins(&open()));
    }
    #[cfg(not(feature = "testing"))]
    let _ = open;
}

/// A driver, used in one of the ways that there are.
struct Way {
    name: &'static str,
    driver: Arc<Redis>,
    time: Duration,
    #[cfg(feature = "tokio")]
    runtime: Option<tokio::runtime::Runtime>,
}

/// Does the same in every way, each with a driver of its own.
fn each_way(config: &Config, test: impl Fn(&Way)) {
    test(&Way::blocking(config));
    #[cfg(feature = "tokio")]
    test(&Way::awaited(config));
}

impl Way {
    fn blocking(config: &Config) -> Self {
        Self {
            name: "blocking",
            driver: Arc::new(Redis::new(config.clone())),
            time: LONG,
            #[cfg(feature = "tokio")]
            runtime: None,
        }
    }

    #[cfg(feature = "tokio")]
    fn awaited(config: &Config) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        Self { name: "awaited", runtime: Some(runtime), ..Self::blocking(config) }
    }

    fn within(&self, time: Duration) -> Self {
        Self {
            name: self.name,
            driver: Arc::clone(&self.driver),
            time,
            #[cfg(feature = "tokio")]
            runtime: self.runtime.as_ref().map(|_| {
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
            }),
        }
    }

    fn get_all(&self, keys: &[&str]) -> Answer<Vec<Option<Found>>> {
        let deadline = Instant::now() + self.time;
        #[cfg(feature = "tokio")]
        if let Some(runtime) = &self.runtime {
            let keys = keys.iter().map(|&key| key.into()).collect();
            return runtime.block_on(Arc::clone(&self.driver).get_async(keys, deadline));
        }
        self.driver.get(keys, deadline)
    }

    fn get(&self, key: &str) -> Answer<Option<Found>> {
        let mut all = self.get_all(&[key])?;
        assert_eq!(all.len(), 1);
        Ok(all.remove(0))
    }

    /// What there must be.
    fn value(&self, key: &str) -> Vec<u8> {
        self.get(key).expect("an answer").expect("a value").value
    }

    fn version(&self, key: &str) -> Version {
        self.get(key).expect("an answer").expect("a value").version.expect("a version")
    }

    fn set(&self, key: &str, value: &[u8], ttl: Option<Duration>, expected: Expected) -> Answer<bool> {
        let deadline = Instant::now() + self.time;
        #[cfg(feature = "tokio")]
        if let Some(runtime) = &self.runtime {
            let driver = Arc::clone(&self.driver);
            return runtime.block_on(driver.set_async(key.into(), value.into(), ttl, expected, deadline));
        }
        self.driver.set(key, value, ttl, expected, deadline)
    }

    /// Stores, whatever is there.
    fn put(&self, key: &str, value: &[u8]) {
        assert!(self.set(key, value, None, Expected::Anything).expect("an answer"), "{}", self.name);
    }

    fn delete(&self, key: &str, expected: Expected) -> Answer<bool> {
        let deadline = Instant::now() + self.time;
        #[cfg(feature = "tokio")]
        if let Some(runtime) = &self.runtime {
            let driver = Arc::clone(&self.driver);
            return runtime.block_on(driver.delete_async(key.into(), expected, deadline));
        }
        self.driver.delete(key, expected, deadline)
    }
}

fn is_unavailable<T>(answer: &Answer<T>) -> bool {
    matches!(answer, Err(DriverError::Unavailable(_)))
}

fn is_timed_out<T>(answer: &Answer<T>) -> bool {
    matches!(answer, Err(DriverError::TimedOut))
}

fn is_failed<T>(answer: &Answer<T>) -> bool {
    matches!(answer, Err(DriverError::Failed(_)))
}

/// Tries until it is so; for what others do in their own time.
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "never {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
