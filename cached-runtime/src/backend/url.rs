//! The URL of a backend. One parser, which can also run while the program is built.

use std::fmt;
use std::time::Duration;

use super::name;

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
    /// `sqlite:///path`
    Sqlite,
}

/// Which hosts a URL of a scheme names.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hosts {
    None,
    One,
    Many,
}

/// What the path of a URL of a scheme is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PathIs {
    Nothing,
    File,
    /// `/database`, or nothing.
    Database,
    /// `/master`, or `/master/database`.
    Master,
}

impl Scheme {
    const ALL: [(&'static str, Self); 11] = [
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
        ("sqlite", Self::Sqlite),
    ];

    const fn of(name: &[u8]) -> Option<Self> {
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
    const fn missing(self) -> Option<UrlError> {
        match self {
            Self::Memory | Self::Null => None,
            Self::Memcached | Self::MemcachedDiscovery | Self::MemcachedUnix => {
                if cfg!(feature = "memcached") { None } else { Some(UrlError::NeedsMemcached) }
            }
            Self::Rediss if cfg!(not(feature = "tls")) => Some(UrlError::NeedsTls),
            Self::Redis | Self::Rediss | Self::RedisUnix | Self::RedisCluster | Self::RedisSentinel => {
                if cfg!(feature = "redis") { None } else { Some(UrlError::NeedsRedis) }
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

    const fn hosts(self) -> Hosts {
        match self {
            Self::Memory | Self::Null | Self::MemcachedUnix | Self::RedisUnix | Self::Sqlite => Hosts::None,
            Self::MemcachedDiscovery | Self::Redis | Self::Rediss => Hosts::One,
            Self::Memcached | Self::RedisCluster | Self::RedisSentinel => Hosts::Many,
        }
    }

    const fn path(self) -> PathIs {
        match self {
            Self::MemcachedUnix | Self::RedisUnix | Self::Sqlite => PathIs::File,
            Self::Redis | Self::Rediss => PathIs::Database,
            Self::RedisSentinel => PathIs::Master,
            _ => PathIs::Nothing,
        }
    }

    const fn has_user(self) -> bool {
        matches!(
            self,
            Self::Redis | Self::Rediss | Self::RedisUnix | Self::RedisCluster | Self::RedisSentinel
        )
    }

    const fn default_port(self) -> u16 {
        match self {
            Self::Memcached | Self::MemcachedDiscovery => 11211,
            Self::RedisSentinel => 26379,
            _ => 6379,
        }
    }

    const fn takes(self, parameter: Parameter) -> bool {
        match parameter {
            Parameter::Prefix | Parameter::Timeout | Parameter::ConnectTimeout => true,
            Parameter::MaxBytes => matches!(self, Self::Memory | Self::Sqlite),
            Parameter::Database => matches!(self, Self::RedisUnix),
            Parameter::Ca => matches!(self, Self::Rediss),
        }
    }

    /// What stands before `://`.
    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, scheme)| *scheme == self).map_or("", |(name, _)| name)
    }
}

/// What may stand in the query.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Parameter {
    Prefix,
    Timeout,
    ConnectTimeout,
    MaxBytes,
    Database,
    Ca,
}

impl Parameter {
    const fn of(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"prefix" => Self::Prefix,
            b"timeout" => Self::Timeout,
            b"connect_timeout" => Self::ConnectTimeout,
            b"max_bytes" => Self::MaxBytes,
            b"database" => Self::Database,
            b"ca" => Self::Ca,
            _ => return None,
        })
    }

    const fn check(self, value: &[u8]) -> Option<UrlError> {
        match self {
            Self::Prefix if !is_prefix(value) => Some(UrlError::Prefix),
            Self::Timeout | Self::ConnectTimeout if duration(value).is_none() => Some(UrlError::Time),
            Self::MaxBytes if bytes(value).is_none() => Some(UrlError::Bytes),
            Self::Database if number(value, u32::MAX as u64).is_none() => Some(UrlError::Database),
            Self::Ca if value.is_empty() => Some(UrlError::File),
            _ => None,
        }
    }
}

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
                 `redis+sentinel` and `sqlite`"
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
            Self::NoHost => "the URL of this backend names a host, as in `redis://127.0.0.1:6379`",
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
                 `memory` and `sqlite` also `max_bytes`, `redis+unix` also `database`, `rediss` also `ca`"
            }
            Self::ParameterTwice => "a parameter in the URL of a backend is given twice",
            Self::Prefix => {
                "`prefix` in the URL of a backend is 1 to 40 letters, digits, `_`, `-`, `.`, `/`, `<` or `>`"
            }
            Self::Time => {
                "a time in the URL of a backend is a number and a unit, as in `timeout=100ms` or \
                 `connect_timeout=2s`, and longer than zero"
            }
            Self::Bytes => "`max_bytes` in the URL of a backend is a number of bytes, as in `max_bytes=64mb`",
        }
    }
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl std::error::Error for UrlError {}

/// The parts of a URL that is known to be right, not decoded yet.
#[derive(Clone, Copy)]
struct Parts<'a> {
    scheme: Scheme,
    user: Option<&'a [u8]>,
    password: Option<&'a [u8]>,
    hosts: &'a [u8],
    path: &'a [u8],
    query: &'a [u8],
}

/// `?` in a `const fn`.
macro_rules! ok {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(error) => return Err(error),
        }
    };
}

/// What is wrong with a URL, if anything is.
pub(crate) const fn check(url: &str) -> Option<UrlError> {
    match split(url.as_bytes()) {
        Ok(_) => None,
        Err(error) => Some(error),
    }
}

/// SCHEME :// USER : PASSWORD @ HOSTS / PATH ? QUERY
const fn split(url: &[u8]) -> Result<Parts<'_>, UrlError> {
    let Some((scheme, rest)) = at_scheme(url) else { return Err(UrlError::NoScheme) };
    let Some(scheme) = Scheme::of(scheme) else { return Err(UrlError::UnknownScheme) };
    if let Some(error) = scheme.missing() {
        return Err(error);
    }
    ok!(letters(rest));
    let (rest, query) = before_and_after(rest, b'?');
    let (authority, path) = match find(rest, b'/') {
        Some(at) => rest.split_at(at),
        None => (rest, &[] as &[u8]),
    };
    let (user, hosts) = match find_last(authority, b'@') {
        Some(at) => (Some(authority.split_at(at).0), authority.split_at(at + 1).1),
        None => (None, authority),
    };
    let (user, password) = match user {
        None => (None, None),
        Some(user) => match find(user, b':') {
            None => (Some(user), None),
            Some(at) => (Some(user.split_at(at).0), Some(user.split_at(at + 1).1)),
        },
    };
    if user.is_some() && !scheme.has_user() {
        return Err(UrlError::NeedlessUser);
    }
    ok!(check_hosts(hosts, scheme.hosts()));
    ok!(check_path(path, scheme.path()));
    ok!(check_query(query, scheme));
    Ok(Parts { scheme, user, password, hosts, path, query })
}

const fn equal(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let mut at = 0;
    while at < one.len() {
        if one[at] != other[at] {
            return false;
        }
        at += 1;
    }
    true
}

const fn find(bytes: &[u8], byte: u8) -> Option<usize> {
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == byte {
            return Some(at);
        }
        at += 1;
    }
    None
}

const fn find_last(bytes: &[u8], byte: u8) -> Option<usize> {
    let mut at = bytes.len();
    while at > 0 {
        at -= 1;
        if bytes[at] == byte {
            return Some(at);
        }
    }
    None
}

/// What is before the first of a byte, and what after it.
const fn before_and_after(bytes: &[u8], byte: u8) -> (&[u8], &[u8]) {
    match find(bytes, byte) {
        Some(at) => (bytes.split_at(at).0, bytes.split_at(at + 1).1),
        None => (bytes, &[]),
    }
}

const fn at_scheme(url: &[u8]) -> Option<(&[u8], &[u8])> {
    let Some(at) = find(url, b':') else { return None };
    let (scheme, rest) = url.split_at(at);
    if at == 0 || rest.len() < 3 || rest[1] != b'/' || rest[2] != b'/' {
        return None;
    }
    Some((scheme, rest.split_at(3).1))
}

const fn hex(digit: u8) -> Option<u8> {
    Some(match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        b'A'..=b'F' => digit - b'A' + 10,
        _ => return None,
    })
}

const fn letters(bytes: &[u8]) -> Result<(), UrlError> {
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        if byte <= b' ' || byte == 0x7f || byte == b'#' {
            return Err(UrlError::Letters);
        }
        if byte == b'%' {
            if at + 2 >= bytes.len() || hex(bytes[at + 1]).is_none() || hex(bytes[at + 2]).is_none() {
                return Err(UrlError::PercentEncoding);
            }
            // What is encoded could be anything only where it is decoded as a whole; NUL is nowhere legal.
            if bytes[at + 1] == b'0' && bytes[at + 2] == b'0' {
                return Err(UrlError::Letters);
            }
        }
        at += 1;
    }
    Ok(())
}

const fn number(bytes: &[u8], most: u64) -> Option<u64> {
    if bytes.is_empty() {
        return None;
    }
    let (mut sum, mut at) = (0_u64, 0);
    while at < bytes.len() {
        if !bytes[at].is_ascii_digit() {
            return None;
        }
        sum = match sum.checked_mul(10) {
            Some(tenfold) => match tenfold.checked_add((bytes[at] - b'0') as u64) {
                Some(sum) => sum,
                None => return None,
            },
            None => return None,
        };
        at += 1;
    }
    if sum <= most { Some(sum) } else { None }
}

/// A number, and what is after it.
const fn number_and_unit(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut at = 0;
    while at < bytes.len() && bytes[at].is_ascii_digit() {
        at += 1;
    }
    let (digits, unit) = bytes.split_at(at);
    match number(digits, u64::MAX) {
        Some(number) => Some((number, unit)),
        None => None,
    }
}

/// Nanoseconds.
const fn duration(text: &[u8]) -> Option<u64> {
    let Some((number, unit)) = number_and_unit(text) else { return None };
    let unit = match unit {
        b"us" => 1000,
        b"ms" => 1_000_000,
        b"" | b"s" => 1_000_000_000,
        b"m" => 60_000_000_000,
        _ => return None,
    };
    match number.checked_mul(unit) {
        Some(0) | None => None,
        product => product,
    }
}

const fn bytes(text: &[u8]) -> Option<u64> {
    let Some((number, unit)) = number_and_unit(text) else { return None };
    let unit = match unit {
        b"" | b"b" => 1,
        b"kb" => 1 << 10,
        b"mb" => 1 << 20,
        b"gb" => 1 << 30,
        _ => return None,
    };
    match number.checked_mul(unit) {
        Some(0) | None => None,
        product => product,
    }
}

const fn is_prefix(value: &[u8]) -> bool {
    let mut at = 0;
    while at < value.len() {
        if !name::is_legal(value[at]) {
            return false;
        }
        at += 1;
    }
    !value.is_empty() && value.len() <= name::LONGEST_PREFIX
}

const fn check_hosts(hosts: &[u8], allowed: Hosts) -> Result<(), UrlError> {
    match allowed {
        Hosts::None if hosts.is_empty() => return Ok(()),
        Hosts::None => return Err(UrlError::NeedlessHost),
        Hosts::One if find(hosts, b',').is_some() => return Err(UrlError::ManyHosts),
        _ => {}
    }
    let mut rest = hosts;
    loop {
        let (host, others) = before_and_after(rest, b',');
        match host_and_port(host) {
            Ok(_) => {}
            Err(error) => return Err(error),
        }
        if find(rest, b',').is_none() {
            return Ok(());
        }
        rest = others;
    }
}

/// A host, and its port if it has one. An IPv6 address is in brackets.
const fn host_and_port(host: &[u8]) -> Result<(&[u8], Option<u16>), UrlError> {
    let (name, port) = if !host.is_empty() && host[0] == b'[' {
        let Some(end) = find(host, b']') else { return Err(UrlError::NoHost) };
        (host.split_at(end).0.split_at(1).1, host.split_at(end + 1).1)
    } else {
        match find(host, b':') {
            Some(at) => host.split_at(at),
            None => (host, &[] as &[u8]),
        }
    };
    if name.is_empty() {
        return Err(UrlError::NoHost);
    }
    if port.is_empty() {
        return Ok((name, None));
    }
    if port[0] != b':' {
        return Err(UrlError::Port);
    }
    match number(port.split_at(1).1, u16::MAX as u64) {
        Some(0) | None => Err(UrlError::Port),
        #[expect(clippy::cast_possible_truncation, reason = "it is at most that")]
        Some(port) => Ok((name, Some(port as u16))),
    }
}

const fn check_path(path: &[u8], is: PathIs) -> Result<(), UrlError> {
    let path = if path.is_empty() { path } else { path.split_at(1).1 };
    match is {
        PathIs::Nothing if !path.is_empty() => Err(UrlError::NeedlessPath),
        PathIs::File if path.is_empty() => Err(UrlError::File),
        PathIs::Database if !path.is_empty() => check_database(path),
        PathIs::Master => {
            let (master, database) = before_and_after(path, b'/');
            if master.is_empty() {
                return Err(UrlError::Master);
            }
            if database.is_empty() { Ok(()) } else { check_database(database) }
        }
        _ => Ok(()),
    }
}

const fn check_database(database: &[u8]) -> Result<(), UrlError> {
    match number(database, u32::MAX as u64) {
        Some(_) => Ok(()),
        None => Err(UrlError::Database),
    }
}

const fn check_query(query: &[u8], scheme: Scheme) -> Result<(), UrlError> {
    let (mut rest, mut seen) = (query, 0_u32);
    while !rest.is_empty() {
        let (one, others) = before_and_after(rest, b'&');
        let (name, value) = before_and_after(one, b'=');
        let Some(parameter) = Parameter::of(name) else { return Err(UrlError::UnknownParameter) };
        if !scheme.takes(parameter) {
            return Err(UrlError::UnknownParameter);
        }
        if seen & (1 << parameter as u32) != 0 {
            return Err(UrlError::ParameterTwice);
        }
        seen |= 1 << parameter as u32;
        if let Some(error) = parameter.check(value) {
            return Err(error);
        }
        rest = others;
    }
    Ok(())
}

/// What is not to be seen: shown as `***`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(String);

impl Secret {
    /// To be handed to who needs it, and not to be shown.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(secret: String) -> Self {
        Self(secret)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A host, by name or address, and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Host {
    /// An IPv6 address stands here without brackets.
    pub name: String,
    /// That of the scheme where the URL names none.
    pub port: u16,
}

/// A URL, taken apart and decoded. As text it has no password.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Url {
    /// What is before `://`.
    pub scheme: Scheme,
    /// Who connects.
    pub user: Option<String>,
    /// And with which password.
    pub password: Option<Secret>,
    /// The servers.
    pub hosts: Vec<Host>,
    /// The file, where the scheme has one, else nothing.
    pub path: String,
    /// The number of the database.
    pub database: u32,
    /// What the sentinels watch.
    pub master: String,
    /// What the keys begin with.
    pub prefix: String,
    /// How long an operation may take.
    pub timeout: Duration,
    /// How long connecting may take, if that differs.
    pub connect_timeout: Option<Duration>,
    /// How much may be stored, where that is for us to say.
    pub max_bytes: Option<u64>,
    /// A file with the certificates that are trusted.
    pub ca: Option<String>,
}

/// What keys begin with, and how long an operation may take, where the URL does not say otherwise.
pub(crate) const DEFAULT_PREFIX: &str = "cached";
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_millis(100);

impl Url {
    /// Reads a URL.
    ///
    /// # Errors
    ///
    /// If it is not one of a backend that this build knows.
    pub fn parse(url: &str) -> Result<Self, UrlError> {
        let Parts { scheme, user, password, hosts, path, query } = split(url.as_bytes())?;
        let optional = |part: Option<&[u8]>| part.map(decoded).transpose();
        let mut parsed = Self {
            scheme,
            user: optional(user)?.filter(|user| !user.is_empty()),
            password: optional(password)?.filter(|it| !it.is_empty()).map(Secret),
            hosts: Vec::new(),
            path: String::new(),
            database: 0,
            master: String::new(),
            prefix: DEFAULT_PREFIX.to_owned(),
            timeout: DEFAULT_TIMEOUT,
            connect_timeout: None,
            max_bytes: None,
            ca: None,
        };
        for host in hosts.split(|byte| *byte == b',').filter(|host| !host.is_empty()) {
            let (name, port) = host_and_port(host)?;
            let port = port.unwrap_or(scheme.default_port());
            parsed.hosts.push(Host { name: decoded(name)?, port });
        }
        let database = |text: &[u8]| number(text, u64::from(u32::MAX)).and_then(|it| u32::try_from(it).ok());
        let after_slash = path.strip_prefix(b"/").unwrap_or(path);
        match scheme.path() {
            PathIs::Nothing => {}
            PathIs::File => parsed.path = decoded(path)?,
            PathIs::Database => parsed.database = database(after_slash).unwrap_or(0),
            PathIs::Master => {
                let (master, number) = before_and_after(after_slash, b'/');
                parsed.master = decoded(master)?;
                parsed.database = database(number).unwrap_or(0);
            }
        }
        for one in query.split(|byte| *byte == b'&') {
            let (name, value) = before_and_after(one, b'=');
            match Parameter::of(name) {
                Some(Parameter::Prefix) => parsed.prefix = decoded(value)?,
                Some(Parameter::Timeout) => {
                    parsed.timeout = duration(value).map_or(DEFAULT_TIMEOUT, Duration::from_nanos);
                }
                Some(Parameter::ConnectTimeout) => {
                    parsed.connect_timeout = duration(value).map(Duration::from_nanos);
                }
                Some(Parameter::MaxBytes) => parsed.max_bytes = bytes(value),
                Some(Parameter::Database) => parsed.database = database(value).unwrap_or(0),
                Some(Parameter::Ca) => parsed.ca = Some(decoded(value)?),
                None => {}
            }
        }
        Ok(parsed)
    }
}

/// What is percent-encoded, decoded.
fn decoded(part: &[u8]) -> Result<String, UrlError> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part;
    while let Some((first, others)) = rest.split_first() {
        rest = others;
        if *first == b'%'
            && let Some((&[high, low], others)) = rest.split_first_chunk()
            && let (Some(high), Some(low)) = (hex(high), hex(low))
        {
            bytes.push(high << 4 | low);
            rest = others;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).map_err(|_| UrlError::PercentEncoding)
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme.name())?;
        if self.user.is_some() || self.password.is_some() {
            f.write_str(self.user.as_deref().unwrap_or_default())?;
            if let Some(password) = &self.password {
                write!(f, ":{password}")?;
            }
            f.write_str("@")?;
        }
        for (number, Host { name, port }) in self.hosts.iter().enumerate() {
            let comma = if number > 0 { "," } else { "" };
            if name.contains(':') {
                write!(f, "{comma}[{name}]:{port}")?
            } else {
                write!(f, "{comma}{name}:{port}")?
            }
        }
        f.write_str(&self.path)?;
        match self.scheme.path() {
            PathIs::Database => write!(f, "/{}", self.database)?,
            PathIs::Master => write!(f, "/{}/{}", self.master, self.database)?,
            _ => {}
        }
        let is_file = self.scheme.path() == PathIs::File;
        let parameters = [
            ("prefix", Some(self.prefix.clone()).filter(|it| it != DEFAULT_PREFIX)),
            ("timeout", Some(format!("{:?}", self.timeout)).filter(|_| self.timeout != DEFAULT_TIMEOUT)),
            ("connect_timeout", self.connect_timeout.map(|it| format!("{it:?}"))),
            ("max_bytes", self.max_bytes.map(|it| it.to_string())),
            ("database", Some(self.database.to_string()).filter(|_| is_file && self.database > 0)),
            ("ca", self.ca.clone()),
        ];
        let mut mark = '?';
        for (name, value) in parameters {
            if let Some(value) = value {
                write!(f, "{mark}{name}={value}")?;
                mark = '&';
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Url {
        Url::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    #[test]
    fn a_url_says_what_it_says() {
        let plain = parse("memory://");
        assert_eq!((plain.scheme, plain.timeout), (Scheme::Memory, Duration::from_millis(100)));
        assert_eq!((&*plain.prefix, plain.max_bytes), ("cached", None));
        let url = parse("memory://?max_bytes=64mb&prefix=app-1&timeout=250ms&connect_timeout=2s");
        assert_eq!((url.max_bytes, &*url.prefix), (Some(64 << 20), "app-1"));
        assert_eq!(url.timeout, Duration::from_millis(250));
        assert_eq!(url.connect_timeout, Some(Duration::from_secs(2)));
    }

    #[cfg(feature = "redis")]
    #[test]
    fn what_is_percent_encoded_is_decoded() {
        let url = parse("redis://us%65r:p%40ss%3Aw%2F%25rd@[::1]:7000/3");
        assert_eq!(url.user.as_deref(), Some("user"));
        assert_eq!(url.password.as_ref().map(Secret::expose), Some("p@ss:w/%rd"));
        assert_eq!(url.hosts, [Host { name: "::1".to_owned(), port: 7000 }]);
        assert_eq!(url.database, 3);
        let url = parse("redis+sentinel://a,b:7/main/2");
        assert_eq!((url.hosts[0].port, url.hosts[1].port), (26379, 7));
        assert_eq!((&*url.master, url.database), ("main", 2));
        let url = parse("redis+unix:///run/redis%20sock?database=4");
        assert_eq!((&*url.path, url.database), ("/run/redis sock", 4));
    }

    #[cfg(feature = "redis")]
    #[test]
    fn no_text_of_it_has_the_password() {
        for (url, shown) in [
            ("redis://:hunter2@host/1", "redis://:***@host:6379/1"),
            ("redis://user:hunter2@host", "redis://user:***@host:6379/0"),
            ("redis+cluster://user:hunter2@a,[::1]", "redis+cluster://user:***@a:6379,[::1]:6379"),
        ] {
            let parsed = parse(url);
            assert_eq!(parsed.to_string(), shown);
            assert!(!format!("{parsed:?}").contains("hunter2"), "{parsed:?}");
        }
    }

    #[cfg(feature = "redis")]
    #[test]
    fn a_fault_in_the_url_of_a_server_is_named() {
        for (url, expected) in [
            ("redis://", UrlError::NoHost),
            ("redis://:80", UrlError::NoHost),
            ("redis://[::1", UrlError::NoHost),
            ("redis://host:", UrlError::Port),
            ("redis://host:0", UrlError::Port),
            ("redis://host:65536", UrlError::Port),
            ("redis://host:port", UrlError::Port),
            ("redis://[::1]7", UrlError::Port),
            ("redis://a,b", UrlError::ManyHosts),
            ("redis+cluster://a,,b", UrlError::NoHost),
            ("redis+cluster://a,b:x", UrlError::Port),
            ("redis+cluster://a/0", UrlError::NeedlessPath),
            ("redis://host/db", UrlError::Database),
            ("redis://host/4294967296", UrlError::Database),
            ("redis+sentinel://host", UrlError::Master),
            ("redis+sentinel://host/main/x", UrlError::Database),
            ("redis+unix://", UrlError::File),
            ("redis+unix://run/redis", UrlError::NeedlessHost),
            ("redis+unix:///run/redis?database=x", UrlError::Database),
            ("redis://host?max_bytes=1", UrlError::UnknownParameter),
        ] {
            assert_eq!(Url::parse(url), Err(expected), "{url}");
        }
        let not_text = Url::parse("redis://us%ffer@host");
        assert_eq!(not_text, Err(UrlError::PercentEncoding));
    }

    #[test]
    fn a_fault_in_any_url_is_named() {
        for (url, expected) in [
            ("", UrlError::NoScheme),
            ("memory", UrlError::NoScheme),
            ("memory:/", UrlError::NoScheme),
            ("://", UrlError::NoScheme),
            ("memroy://", UrlError::UnknownScheme),
            ("http://host", UrlError::UnknownScheme),
            ("memory://host", UrlError::NeedlessHost),
            ("memory://user@", UrlError::NeedlessUser),
            ("memory:///path", UrlError::NeedlessPath),
            ("memory://?a b", UrlError::Letters),
            ("memory://?prefix=a#b", UrlError::Letters),
            ("memory://?prefix=%00", UrlError::Letters),
            ("memory://?prefix=%4", UrlError::PercentEncoding),
            ("memory://?prefix=%zz", UrlError::PercentEncoding),
            ("memory://?prefix=", UrlError::Prefix),
            ("memory://?prefix=a:b", UrlError::Prefix),
            ("memory://?max_byte=1", UrlError::UnknownParameter),
            ("memory://?database=1", UrlError::UnknownParameter),
            ("memory://?max_bytes=1mb&max_bytes=1mb", UrlError::ParameterTwice),
            ("memory://?max_bytes=0", UrlError::Bytes),
            ("memory://?max_bytes=1tb", UrlError::Bytes),
            ("memory://?max_bytes=99999999999999gb", UrlError::Bytes),
            ("memory://?timeout=0ms", UrlError::Time),
            ("memory://?timeout=ms", UrlError::Time),
            ("memory://?timeout=1h", UrlError::Time),
            ("memory://?connect_timeout=", UrlError::Time),
        ] {
            assert_eq!(Url::parse(url), Err(expected), "{url}");
            assert_eq!(check(url), Some(expected), "{url}");
        }
    }

    #[test]
    fn a_scheme_whose_feature_is_off_names_it() {
        for (url, is_there, feature) in [
            ("memcached://host", cfg!(feature = "memcached"), "`memcached`"),
            ("redis://host", cfg!(feature = "redis"), "`redis`"),
            ("rediss://host", cfg!(feature = "tls"), "`tls`"),
            ("sqlite:///file", cfg!(feature = "sqlite"), "`sqlite`"),
        ] {
            match Url::parse(url) {
                Ok(_) => assert!(is_there, "{url}"),
                Err(error) => assert!(!is_there && error.message().contains(feature), "{url}: {error}"),
            }
        }
    }
}
