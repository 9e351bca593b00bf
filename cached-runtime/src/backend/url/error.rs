//! What can be wrong with a URL.

use std::fmt;

/// What is wrong with a URL. Its text never quotes from the URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "their texts say what they are")]
pub enum UrlError {
    NoScheme,
    UnknownScheme,
    NeedsMemcached,
    NeedsRedis,
    NeedsTls,
    NeedsSqlite,
    Letters,
    PercentEncoding,
    At,
    NoHost,
    ManyHosts,
    NeedlessHost,
    Port,
    NeedlessUser,
    NeedlessPath,
    File,
    Database,
    Master,
    UnknownParameter,
    ParameterTwice,
    Prefix,
    Time,
    Bytes,
    Switch,
}

impl UrlError {
    /// What is wrong, in words.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::NoScheme => {
                "the URL of a backend begins with a scheme, such as `memcached://` or `redis://`"
            }
            Self::UnknownScheme => {
                "unknown scheme in the URL of a backend; the known ones are `memory`, `null`, `memcached`, \
                 `memcached+discovery`, `memcached+unix`, `redis`, `rediss`, `redis+unix`, `redis+cluster`, \
                 `redis+sentinel`, `rediss+cluster`, `rediss+sentinel` and `sqlite`"
            }
            Self::NeedsMemcached => {
                "this backend needs the feature `memcached` of the crate `cached-runtime`"
            }
            Self::NeedsRedis => "this backend needs the feature `redis` of the crate `cached-runtime`",
            Self::NeedsTls => {
                "this backend needs the features `redis` and `tls` of the crate `cached-runtime`"
            }
            Self::NeedsSqlite => "this backend needs the feature `sqlite` of the crate `cached-runtime`",
            Self::Letters => {
                "the URL of a backend has no spaces, control characters or `#`; write them as `%20` and so on"
            }
            Self::PercentEncoding => {
                "a `%` in the URL of a backend is followed by two hexadecimal digits, which make valid UTF-8; \
                 a `%` itself is `%25`"
            }
            Self::At => {
                "an `@` in the URL of a backend stands only between the user and the hosts; in a password or a path it is \
                 written as `%40`, and in a password `/` as `%2F` and `?` as `%3F`"
            }
            Self::NoHost => {
                "the URL of this backend names a host, as in `redis://127.0.0.1:6379` or \
                 `memcached://127.0.0.1:11211`"
            }
            Self::ManyHosts => "the URL of this backend names one host only",
            Self::NeedlessHost => {
                "the URL of this backend has no host: a path follows after three slashes, as in \
                 `sqlite:///var/cache/app.db`"
            }
            Self::Port => "a port in the URL of a backend is a number from 1 to 65535",
            Self::NeedlessUser => "the URL of this backend has no user or password",
            Self::NeedlessPath => "the URL of this backend has no path",
            Self::File => "the URL of this backend names a file, as in `sqlite:///var/cache/app.db`",
            Self::Database => "a database in the URL of a backend is a number, as in `redis://127.0.0.1/0`",
            Self::Master => {
                "the URL of this backend names the master that the sentinels watch, as in \
                 `redis+sentinel://127.0.0.1:26379/master/0`"
            }
            Self::UnknownParameter => {
                "unknown parameter in the URL of a backend; all take `prefix`, `timeout` and `connect_timeout`, \
                 `memory` and `sqlite` also `max_bytes`, those of Redis also `broadcast`, `redis+unix` also `database`, \
                 those with `rediss` also `ca`"
            }
            Self::ParameterTwice => "a parameter in the URL of a backend is given twice",
            Self::Prefix => {
                "`prefix` in the URL of a backend is 1 to 40 letters, digits, `_`, `-`, `.`, `/`, `<` or `>`"
            }
            Self::Time => {
                "a time in the URL of a backend is a whole number and a unit, `us`, `ms`, `s` or `m`, as in \
                 `timeout=100ms` or `connect_timeout=2s`, and longer than zero"
            }
            Self::Bytes => "`max_bytes` in the URL of a backend is a number of bytes, as in `max_bytes=64mb`",
            Self::Switch => "`broadcast` in the URL of a backend is `on` or `off`",
        }
    }
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl std::error::Error for UrlError {}
