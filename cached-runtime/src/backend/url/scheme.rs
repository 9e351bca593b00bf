//! The schemes, and what a URL of each can say.

use super::error::UrlError;
use super::syntax::{bytes, duration, equal, is_prefix, number};

/// What is before `://`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scheme {
    /// `memory://`
    Memory,
    /// `null://`
    Null,
    /// `memcached://host:port,…`
    Memcached,
    /// `memcached+discovery://host:port`
    MemcachedDiscovery,
    /// `memcached+unix:///path`
    MemcachedUnix,
    /// `redis://user:password@host:port/database`
    Redis,
    /// `rediss://`, the same through TLS
    Rediss,
    /// `redis+unix:///path?database=0`
    RedisUnix,
    /// `redis+cluster://host:port,…`
    RedisCluster,
    /// `redis+sentinel://host:port,…/master/database`
    RedisSentinel,
    /// `rediss+cluster://`, the same through TLS
    RedissCluster,
    /// `rediss+sentinel://`, the same through TLS
    RedissSentinel,
    /// `sqlite:///path`
    Sqlite,
}

/// Which hosts a URL of a scheme names.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Hosts {
    None,
    One,
    Many,
}

/// What the path of a URL of a scheme is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum PathIs {
    Nothing,
    File,
    /// `/database`, or nothing.
    Database,
    /// `/master`, or `/master/database`.
    Master,
}

impl Scheme {
    pub(super) const ALL: [(&'static str, Self); 13] = [
        ("memory", Self::Memory),
        ("null", Self::Null),
        ("memcached", Self::Memcached),
        ("memcached+discovery", Self::MemcachedDiscovery),
        ("memcached+unix", Self::MemcachedUnix),
        ("redis", Self::Redis),
        ("rediss", Self::Rediss),
        ("redis+unix", Self::RedisUnix),
        ("redis+cluster", Self::RedisCluster),
        ("redis+sentinel", Self::RedisSentinel),
        ("rediss+cluster", Self::RedissCluster),
        ("rediss+sentinel", Self::RedissSentinel),
        ("sqlite", Self::Sqlite),
    ];

    pub(super) const fn of(name: &[u8]) -> Option<Self> {
        let mut at = 0;
        while at < Self::ALL.len() {
            if equal(Self::ALL[at].0.as_bytes(), name) {
                return Some(Self::ALL[at].1);
            }
            at += 1;
        }
        None
    }

    /// The cargo feature that it needs, if that is not there.
    pub(super) const fn missing(self) -> Option<UrlError> {
        match self {
            Self::Memory | Self::Null => None,
            Self::Memcached | Self::MemcachedDiscovery | Self::MemcachedUnix => {
                if cfg!(feature = "memcached") { None } else { Some(UrlError::NeedsMemcached) }
            }
            _ if self.is_encrypted() && cfg!(not(feature = "tls")) => Some(UrlError::NeedsTls),
            Self::Redis
            | Self::Rediss
            | Self::RedisUnix
            | Self::RedisCluster
            | Self::RedisSentinel
            | Self::RedissCluster
            | Self::RedissSentinel => {
                if cfg!(feature = "redis") {
                    None
                } else {
                    Some(UrlError::NeedsRedis)
                }
            }
            Self::Sqlite => {
                if cfg!(feature = "sqlite") {
                    None
                } else {
                    Some(UrlError::NeedsSqlite)
                }
            }
        }
    }

    pub(super) const fn hosts(self) -> Hosts {
        match self {
            Self::Memory | Self::Null | Self::MemcachedUnix | Self::RedisUnix | Self::Sqlite => Hosts::None,
            Self::MemcachedDiscovery | Self::Redis | Self::Rediss => Hosts::One,
            Self::Memcached
            | Self::RedisCluster
            | Self::RedisSentinel
            | Self::RedissCluster
            | Self::RedissSentinel => Hosts::Many,
        }
    }

    pub(super) const fn path(self) -> PathIs {
        match self {
            Self::MemcachedUnix | Self::RedisUnix | Self::Sqlite => PathIs::File,
            Self::Redis | Self::Rediss => PathIs::Database,
            Self::RedisSentinel | Self::RedissSentinel => PathIs::Master,
            _ => PathIs::Nothing,
        }
    }

    pub(super) const fn has_user(self) -> bool {
        self.is_redis()
    }

    const fn is_redis(self) -> bool {
        matches!(self, Self::Redis | Self::RedisUnix | Self::RedisCluster | Self::RedisSentinel)
            || self.is_encrypted()
    }

    /// Whether connections are made through TLS.
    pub(crate) const fn is_encrypted(self) -> bool {
        matches!(self, Self::Rediss | Self::RedissCluster | Self::RedissSentinel)
    }

    pub(super) const fn default_port(self) -> u16 {
        match self {
            Self::Memcached | Self::MemcachedDiscovery => 11211,
            Self::RedisSentinel | Self::RedissSentinel => 26379,
            _ => 6379,
        }
    }

    pub(super) const fn takes(self, parameter: Parameter) -> bool {
        match parameter {
            Parameter::Prefix | Parameter::Timeout | Parameter::ConnectTimeout => true,
            Parameter::MaxBytes => matches!(self, Self::Memory | Self::Sqlite),
            Parameter::Database => matches!(self, Self::RedisUnix),
            Parameter::Ca => self.is_encrypted(),
            Parameter::Broadcast => self.is_redis(),
        }
    }

    /// What stands before `://`.
    pub(super) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, scheme)| *scheme == self).map_or("", |(name, _)| name)
    }
}

/// What may stand in the query.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Parameter {
    Prefix,
    Timeout,
    ConnectTimeout,
    MaxBytes,
    Database,
    Ca,
    Broadcast,
}

impl Parameter {
    pub(super) const fn of(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"prefix" => Self::Prefix,
            b"timeout" => Self::Timeout,
            b"connect_timeout" => Self::ConnectTimeout,
            b"max_bytes" => Self::MaxBytes,
            b"database" => Self::Database,
            b"ca" => Self::Ca,
            b"broadcast" => Self::Broadcast,
            _ => return None,
        })
    }

    pub(super) const fn check(self, value: &[u8]) -> Option<UrlError> {
        match self {
            Self::Prefix if !is_prefix(value) => Some(UrlError::Prefix),
            Self::Timeout | Self::ConnectTimeout if duration(value).is_none() => Some(UrlError::Time),
            Self::MaxBytes if bytes(value).is_none() => Some(UrlError::Bytes),
            Self::Database if number(value, u32::MAX as u64).is_none() => Some(UrlError::Database),
            Self::Broadcast if !equal(value, b"on") && !equal(value, b"off") => Some(UrlError::Switch),
            Self::Ca if value.is_empty() => Some(UrlError::File),
            _ => None,
        }
    }
}
