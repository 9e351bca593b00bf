//! `redis://` and its kin, below everything that is the same for all engines; each way that a driver can be
//! used.

mod broadcast;
mod cluster;
mod contract;
mod faults;
mod secured;
mod sentinel;
mod standalone;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cached_runtime::backend::driver::{Answer, Driver, DriverError, Expected, Found, Version};
use cached_runtime::testing;
use cached_tests::eventually;
use cached_tests::servers::{Server, free_port};
use tokio::runtime::{Builder, Runtime};

const LONG: Duration = Duration::from_secs(20);

/// A URL, in the parts that tests vary.
#[derive(Clone)]
struct Config {
    scheme: &'static str,
    /// The user, the password, and what is behind them.
    who: String,
    hosts: String,
    path: String,
    query: String,
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheme, who, hosts, path, query } = self;
        write!(f, "{scheme}://{who}{hosts}{path}?{query}")
    }
}

fn config(scheme: &'static str, ports: &[u16]) -> Config {
    let hosts: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    let (who, path) = (String::new(), String::new());
    Config { scheme, who, hosts: hosts.join(","), path, query: "connect_timeout=10s".into() }
}

fn standalone(port: u16) -> Config {
    config("redis", &[port])
}

fn open(config: &Config) -> Arc<dyn Driver> {
    testing::driver(&config.to_string())
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Runs the suite that every driver must pass, also on tokio.
fn conforms(config: &Config) {
    testing::conformance(|| open(config));
    for builder in [&mut Builder::new_current_thread(), &mut Builder::new_multi_thread()] {
        let runtime = builder.enable_all().build().expect("a runtime");
        runtime.block_on(testing::conformance_of_twins(&open(config)));
    }
    for builder in [&mut Builder::new_current_thread(), Builder::new_current_thread().enable_io()] {
        // Connections cannot be on these.
        let runtime = builder.build().expect("a runtime");
        runtime.block_on(testing::conformance_of_twins(&open(config)));
    }
}

/// A driver, used in one of the ways that there are.
struct Way {
    name: &'static str,
    driver: Arc<dyn Driver>,
    time: Duration,
    /// Absent where operations block.
    runtime: Option<Runtime>,
}

/// Does the same in every way, each with a driver of its own.
fn each_way(config: &Config, test: impl Fn(&Way)) {
    test(&Way::blocking(config));
    test(&Way::awaited(config));
}

impl Way {
    fn blocking(config: &Config) -> Self {
        Self { name: "blocking", driver: open(config), time: LONG, runtime: None }
    }

    fn awaited(config: &Config) -> Self {
        Self { name: "awaited", runtime: Some(runtime()), ..Self::blocking(config) }
    }

    fn within(&self, time: Duration) -> Self {
        let runtime = self.runtime.as_ref().map(|_| runtime());
        Self { name: self.name, driver: Arc::clone(&self.driver), time, runtime }
    }

    fn get_all(&self, keys: &[&str]) -> Answer<Vec<Option<Found>>> {
        let deadline = Instant::now() + self.time;
        if let Some(runtime) = &self.runtime {
            let keys = keys.iter().map(|&key| key.into()).collect();
            return runtime.block_on(async { Arc::clone(&self.driver).get_async(keys, deadline).await });
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
        if let Some(runtime) = &self.runtime {
            let (driver, key, value) = (Arc::clone(&self.driver), key.into(), value.into());
            return runtime.block_on(async { driver.set_async(key, value, ttl, expected, deadline).await });
        }
        self.driver.set(key, value, ttl, expected, deadline)
    }

    /// Stores, whatever is there.
    fn put(&self, key: &str, value: &[u8]) {
        assert!(self.set(key, value, None, Expected::Anything).expect("an answer"), "{}", self.name);
    }

    fn delete(&self, key: &str, expected: Expected) -> Answer<bool> {
        let deadline = Instant::now() + self.time;
        if let Some(runtime) = &self.runtime {
            let (driver, key) = (Arc::clone(&self.driver), key.into());
            return runtime.block_on(async { driver.delete_async(key, expected, deadline).await });
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
