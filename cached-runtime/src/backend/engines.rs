//! The engine of each scheme. An engine is opened without connecting.

use std::sync::Arc;

use super::broadcast::Broadcast;
#[cfg(feature = "redis")]
use super::broadcast::Voice;
use super::driver::Driver;
use super::memory::{self, Memory};
use super::null::Null;
use super::url::{Scheme, Url};

/// An engine that was opened.
pub(crate) struct Engine {
    pub(crate) driver: Arc<dyn Driver>,
    /// Where it carries messages.
    pub(crate) broadcast: Option<Broadcast>,
}

/// The engine of a URL, or why there is none.
pub(crate) fn open(url: &Url) -> Result<Engine, String> {
    let driver: Result<Arc<dyn Driver>, String> = match url.scheme {
        Scheme::Memory => {
            let mut config = memory::Config::default();
            if let Some(bytes) = url.max_bytes {
                config.max_bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            }
            Ok(Arc::new(Memory::new(config)))
        }
        Scheme::Null => Ok(Arc::new(Null)),
        #[cfg(feature = "memcached")]
        Scheme::Memcached | Scheme::MemcachedDiscovery | Scheme::MemcachedUnix => {
            Ok(Arc::new(memcached(url)))
        }
        #[cfg(feature = "redis")]
        Scheme::Redis
        | Scheme::Rediss
        | Scheme::RedisUnix
        | Scheme::RedisCluster
        | Scheme::RedisSentinel
        | Scheme::RedissCluster
        | Scheme::RedissSentinel => {
            let redis = redis(url)?;
            let broadcast = url.broadcast.then(|| {
                let voice = Voice::new(&url.prefix);
                Broadcast::new(Arc::new(redis.with(voice.clone())), voice)
            });
            return Ok(Engine { driver: Arc::new(redis), broadcast });
        }
        #[cfg(feature = "sqlite")]
        Scheme::Sqlite => {
            let mut config = super::sqlite::Config::new(&url.path);
            if let Some(bytes) = url.max_bytes {
                config.max_bytes = bytes;
            }
            Ok(Arc::new(super::sqlite::Sqlite::new(config)))
        }
        #[expect(clippy::allow_attributes, reason = "with all features there are no others")]
        #[allow(unreachable_patterns)]
        _ => Err(format!("this build has no engine for {url}")),
    };
    Ok(Engine { driver: driver?, broadcast: None })
}

#[cfg(feature = "memcached")]
fn memcached(url: &Url) -> super::memcached::Memcached {
    use std::time::Duration;

    use super::memcached::{Config, Memcached, Server};

    /// Between two looks at the list of servers.
    const REFRESH: Duration = Duration::from_secs(60);
    let servers = if url.scheme == Scheme::MemcachedUnix {
        vec![Server::Unix(url.path.clone().into())]
    } else {
        url.hosts.iter().map(|host| Server::Tcp { host: host.name.clone(), port: host.port }).collect()
    };
    let mut config = Config::new(servers);
    config.discovery = (url.scheme == Scheme::MemcachedDiscovery).then_some(REFRESH);
    if let Some(timeout) = url.connect_timeout {
        config.connect_timeout = timeout;
    }
    Memcached::new(config)
}

#[cfg(feature = "redis")]
fn redis(url: &Url) -> Result<super::redis::Redis, String> {
    use std::time::Duration;

    use super::redis::{Address, Config, Endpoint, Redis, Topology};

    /// How long a connection may take, which is made beside the operation that needs it.
    const CONNECT: Duration = Duration::from_secs(1);
    let mut endpoints: Vec<Endpoint> =
        url.hosts.iter().map(|host| Endpoint { host: host.name.clone(), port: host.port }).collect();
    let topology = match url.scheme {
        Scheme::RedisCluster | Scheme::RedissCluster => Topology::Cluster(endpoints),
        Scheme::RedisSentinel | Scheme::RedissSentinel => {
            Topology::Sentinel { sentinels: endpoints, master: url.master.clone() }
        }
        #[cfg(unix)]
        Scheme::RedisUnix => Topology::Standalone(Address::Unix(url.path.clone().into())),
        _ => {
            let endpoint = endpoints.pop().ok_or("this system has no such sockets")?;
            Topology::Standalone(Address::Tcp(endpoint))
        }
    };
    Ok(Redis::new(Config {
        topology,
        user: url.user.clone(),
        password: url.password.as_ref().map(|password| password.expose().to_owned()),
        database: url.database,
        connect_timeout: url.connect_timeout.unwrap_or(CONNECT),
        #[cfg(feature = "tls")]
        tls: url
            .scheme
            .is_encrypted()
            .then(|| super::redis::Tls { roots: url.ca.clone().map(std::path::PathBuf::from) }),
    }))
}
