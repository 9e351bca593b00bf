//! Where the servers are, and who asks them.

use std::fmt;
#[cfg(any(unix, feature = "tls"))]
use std::path::PathBuf;
use std::time::Duration;

/// All that is needed to reach Redis or Valkey.
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) topology: Topology,
    /// The user of the server's access control list; its default user if absent.
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
    /// A cluster has only 0.
    pub(crate) database: u32,
    /// How long a connection may take to be ready for commands. It goes on being made in the background if
    /// the operation that wanted it has given up, so that it may take longer than an operation.
    pub(crate) connect_timeout: Duration,
    /// Encrypts what goes over TCP, to sentinels too.
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<Tls>,
}

/// Which servers there are.
#[derive(Clone, Debug)]
pub(crate) enum Topology {
    Standalone(Address),
    /// Some nodes of a cluster; the others are learnt from them.
    Cluster(Vec<Endpoint>),
    /// Sentinels, and the name under which they watch the master.
    Sentinel {
        sentinels: Vec<Endpoint>,
        master: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Address {
    Tcp(Endpoint),
    #[cfg(unix)]
    Unix(PathBuf),
}

/// A host's name or number, and its port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Endpoint {
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// Whom to trust.
#[cfg(feature = "tls")]
#[derive(Clone, Debug, Default)]
pub(crate) struct Tls {
    /// A PEM file of certificates that are trusted instead of those that the system trusts.
    pub(crate) roots: Option<PathBuf>,
}

impl fmt::Debug for Config {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("Config");
        shown
            .field("topology", &self.topology)
            .field("user", &self.user)
            .field("password", &self.password.as_ref().map(|_| "…"))
            .field("database", &self.database)
            .field("connect_timeout", &self.connect_timeout);
        #[cfg(feature = "tls")]
        shown.field("tls", &self.tls);
        shown.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown() {
        let config = Config {
            topology: Topology::Cluster(Vec::new()),
            user: Some("somebody".into()),
            password: Some("s3cr3t-w0rd".into()),
            database: 0,
            connect_timeout: Duration::from_secs(1),
            #[cfg(feature = "tls")]
            tls: None,
        };
        let shown = format!("{config:?}");
        assert!(shown.contains("somebody") && !shown.contains("s3cr3t-w0rd"), "{shown}");
    }
}
