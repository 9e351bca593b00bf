//! What a connection says first.

use std::time::Duration;

use redis::{Cmd, Value};

use super::super::driver::{Answer, DriverError};
#[cfg(feature = "tls")]
use super::config::Tls;
use super::reply::refused;
#[cfg(feature = "tls")]
use super::tls::Client;

/// How a connection is made ready.
pub(super) struct Setup {
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) database: u32,
    /// Refuses a server that follows another, which would answer with what is old.
    pub(super) only_master: bool,
    pub(super) connect_timeout: Duration,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<Client>,
}

#[cfg(feature = "tls")]
pub(super) fn tls(wanted: Option<&Tls>) -> Option<Client> {
    wanted.map(|tls| Client::new(tls.roots.clone()))
}

impl Setup {
    pub(super) fn commands(&self) -> Vec<Cmd> {
        let mut commands = Vec::new();
        commands.extend(self.authentication());
        if self.database != 0 {
            let mut select = redis::cmd("SELECT");
            select.arg(self.database);
            commands.push(select);
        }
        if self.only_master {
            commands.push(redis::cmd("ROLE"));
        }
        commands
    }

    pub(super) fn authentication(&self) -> Option<Cmd> {
        if self.user.is_none() && self.password.is_none() {
            return None;
        }
        let mut command = redis::cmd("AUTH");
        // With a password alone it is understood by servers older than users, too.
        command.arg(self.user.as_deref()).arg(self.password.as_deref().unwrap_or_default());
        Some(command)
    }

    /// Whether the replies to those commands are what they should be.
    pub(super) fn check(&self, replies: &[Value]) -> Answer<()> {
        for reply in replies {
            match reply {
                // Whoever may not ask for the role goes by what sentinels say.
                Value::ServerError(error) if self.only_master && error.code() == "NOPERM" => {}
                Value::ServerError(error) => return Err(refused(error)),
                Value::Array(role) if !matches!(role.first(), Some(Value::BulkString(name)) if name == b"master") =>
                {
                    return Err(DriverError::Unavailable("the server is no longer the master".into()));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(user: Option<&str>, password: Option<&str>, database: u32, only_master: bool) -> String {
        let setup = Setup {
            user: user.map(Into::into),
            password: password.map(Into::into),
            database,
            only_master,
            connect_timeout: Duration::from_secs(1),
            #[cfg(feature = "tls")]
            tls: None,
        };
        let mut bytes = Vec::new();
        for command in setup.commands() {
            command.write_packed_command(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).replace("\r\n", " ")
    }

    #[test]
    fn only_what_is_needed_is_said() {
        assert_eq!(said(None, None, 0, false), "");
        assert_eq!(said(None, Some("p"), 0, false), "*2 $4 AUTH $1 p ");
        assert_eq!(said(Some("u"), Some("p"), 0, false), "*3 $4 AUTH $1 u $1 p ");
        assert_eq!(said(None, None, 3, true), "*2 $6 SELECT $1 3 *1 $4 ROLE ");
    }
}
