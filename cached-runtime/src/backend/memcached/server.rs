//! Where a server is.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// Where a memcached listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Server {
    /// On TCP.
    Tcp {
        /// A name, or an IP address without brackets.
        host: String,
        /// 11211 as a rule.
        port: u16,
    },
    /// On a Unix socket.
    Unix(PathBuf),
}

impl Server {
    /// One on TCP; `host` is a name or an IP address, without brackets.
    #[must_use]
    pub fn tcp(host: &str, port: u16) -> Self {
        // Names are the same in either case, and keys are spread by name.
        Self::Tcp { host: host.to_ascii_lowercase(), port }
    }

    /// One on a Unix socket.
    #[must_use]
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self::Unix(path.into())
    }

    /// Where to connect to, if that is known without asking for a name; `ip` is the
    /// address that the name is known to have.
    pub(super) fn address(&self, ip: Option<IpAddr>) -> Option<SocketAddr> {
        match self {
            Self::Tcp { host, port } => Some((ip.or_else(|| host.parse().ok())?, *port).into()),
            Self::Unix(_) => None,
        }
    }
}

/// The name by which keys are spread: `host:port`, `[::1]:port`, `unix:/path`.
impl fmt::Display for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(formatter, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(formatter, "{host}:{port}"),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_have_one_name_each() {
        for (server, name, address) in [
            (Server::tcp("Cache-1.local", 11211), "cache-1.local:11211", None),
            (Server::tcp("10.0.0.1", 1), "10.0.0.1:1", Some("10.0.0.1:1")),
            (Server::tcp("::1", 1), "[::1]:1", Some("[::1]:1")),
            (Server::unix("/run/m.sock"), "unix:/run/m.sock", None),
        ] {
            assert_eq!(server.to_string(), name);
            assert_eq!(server.address(None), address.map(|it| it.parse().unwrap()));
        }
    }
}
