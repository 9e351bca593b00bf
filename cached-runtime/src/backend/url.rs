//! The URL of a backend. One parser, which can also run while the program is built.

mod error;
mod scheme;
mod syntax;

use std::fmt::{self, Write as _};
use std::time::Duration;

pub use error::UrlError;
pub use scheme::Scheme;
use scheme::{Parameter, PathIs};
pub(crate) use syntax::check;
use syntax::{Parts, before_and_after, bytes, duration, hex, host_and_port, number, split};

use crate::report::is_seen;

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
    /// Whether processes tell each other what they change, where the engine carries that.
    pub broadcast: bool,
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
            broadcast: true,
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
                Some(Parameter::Broadcast) => parsed.broadcast = value == b"on",
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

/// Of a URL what was decoded, with what would have another meaning, or cannot be seen, encoded.
struct Encoded<'a>(&'a str);

impl fmt::Display for Encoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            if is_seen(letter) && !" #%?@".contains(letter) {
                f.write_char(letter)?;
            } else {
                letter.encode_utf8(&mut [0; 4]).bytes().try_for_each(|byte| write!(f, "%{byte:02X}"))?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme.name())?;
        if self.user.is_some() || self.password.is_some() {
            Encoded(self.user.as_deref().unwrap_or_default()).fmt(f)?;
            if let Some(password) = &self.password {
                write!(f, ":{password}")?;
            }
            f.write_str("@")?;
        }
        for (number, Host { name, port }) in self.hosts.iter().enumerate() {
            let comma = if number > 0 { "," } else { "" };
            let (open, close) = if name.contains(':') { ("[", "]") } else { ("", "") };
            write!(f, "{comma}{open}{}{close}:{port}", Encoded(name))?;
        }
        Encoded(&self.path).fmt(f)?;
        match self.scheme.path() {
            PathIs::Database => write!(f, "/{}", self.database)?,
            PathIs::Master => write!(f, "/{}/{}", Encoded(&self.master), self.database)?,
            _ => {}
        }
        let is_file = self.scheme.path() == PathIs::File;
        let parameters = [
            ("prefix", Some(self.prefix.clone()).filter(|it| it != DEFAULT_PREFIX)),
            ("timeout", Some(format!("{:?}", self.timeout)).filter(|_| self.timeout != DEFAULT_TIMEOUT)),
            ("connect_timeout", self.connect_timeout.map(|it| format!("{it:?}"))),
            ("max_bytes", self.max_bytes.map(|it| it.to_string())),
            ("database", Some(self.database.to_string()).filter(|_| is_file && self.database > 0)),
            ("ca", self.ca.as_deref().map(|it| Encoded(it).to_string())),
            ("broadcast", (!self.broadcast).then(|| "off".to_owned())),
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
        assert_eq!(Url::parse("redis://us%ffer@host"), Err(UrlError::PercentEncoding));
        let url = parse("redis+sentinel://a,b:7/main/2");
        assert_eq!((url.hosts[0].port, url.hosts[1].port), (26379, 7));
        assert_eq!((&*url.master, url.database), ("main", 2));
        let url = parse("redis+unix:///run/redis%20sock?database=4");
        assert_eq!((&*url.path, url.database), ("/run/redis sock", 4));
        let url = parse("redis://host?broadcast=off");
        assert_eq!((url.broadcast, &*url.to_string()), (false, "redis://host:6379/0?broadcast=off"));
        assert!(parse("redis://host").broadcast && parse("redis://host?broadcast=on").broadcast);
    }

    #[cfg(all(feature = "redis", feature = "tls"))]
    #[test]
    fn what_goes_through_tls_is_otherwise_as_what_does_not() {
        for (url, shown) in [
            ("rediss://host/1?ca=/ca.pem", "rediss://host:6379/1?ca=/ca.pem"),
            ("rediss+cluster://u:p@a,b:7?ca=/ca.pem", "rediss+cluster://u:***@a:6379,b:7?ca=/ca.pem"),
            ("rediss+sentinel://a,b/main/2", "rediss+sentinel://a:26379,b:26379/main/2"),
        ] {
            let url = parse(url);
            assert!(url.scheme.is_encrypted());
            assert_eq!(url.to_string(), shown);
        }
        assert!(!parse("redis+sentinel://a/main").scheme.is_encrypted());
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

    #[test]
    fn what_has_a_meaning_and_is_not_encoded_in_a_password_is_a_fault() {
        for url in [
            "redis://u:12/secret@h/0",
            "redis://u:12?secret@h/0",
            "redis://u:12@/secret@h/0",
            "rediss://u:12/secret@h/0",
            "redis+sentinel://u:12/secret@h/0",
            "redis+cluster://u:12/secret@h",
            "redis+unix://u:12/secret@/run/redis",
            "memcached://u:12/secret@h",
            "sqlite:///secret@h",
        ] {
            assert_eq!((Url::parse(url), check(url)), (Err(UrlError::At), Some(UrlError::At)), "{url}");
        }
    }

    #[cfg(all(feature = "redis", feature = "sqlite"))]
    #[test]
    fn what_has_a_meaning_or_cannot_be_seen_is_shown_encoded() {
        for (url, shown) in [
            ("sqlite:///a%0ab%20c%40d%3Fe%23f%25g", "sqlite:///a%0Ab%20c%40d%3Fe%23f%25g"),
            ("sqlite:///größe%e2%80%ae%C2%85", "sqlite:///größe%E2%80%AE%C2%85"),
            ("redis+sentinel://%0a:p@h%0a/m%0a", "redis+sentinel://%0A:***@h%0A:26379/m%0A/0"),
        ] {
            assert_eq!((&*parse(url).to_string(), &*parse(shown).to_string()), (shown, shown), "{url}");
        }
    }

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
            ("redis+cluster://host?ca=/ca.pem", UrlError::UnknownParameter),
            ("redis://host?broadcast=no", UrlError::Switch),
            ("redis://host?broadcast=", UrlError::Switch),
        ] {
            assert_eq!(Url::parse(url), Err(expected), "{url}");
        }
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
            ("memory:///path@host", UrlError::At),
            ("memory://?prefix=a@b", UrlError::At),
            ("memory://?a b", UrlError::Letters),
            ("memory://?prefix=a#b", UrlError::Letters),
            ("memory://?prefix=%00", UrlError::Letters),
            ("memory://?prefix=%4", UrlError::PercentEncoding),
            ("memory://?prefix=%zz", UrlError::PercentEncoding),
            ("memory://?prefix=", UrlError::Prefix),
            ("memory://?prefix=a:b", UrlError::Prefix),
            ("memory://?max_byte=1", UrlError::UnknownParameter),
            ("memory://?database=1", UrlError::UnknownParameter),
            ("memory://?broadcast=off", UrlError::UnknownParameter),
            ("memory://?max_bytes=1mb&max_bytes=1mb", UrlError::ParameterTwice),
            ("memory://?max_bytes=0", UrlError::Bytes),
            ("memory://?max_bytes=1tb", UrlError::Bytes),
            ("memory://?max_bytes=99999999999999gb", UrlError::Bytes),
            ("memory://?timeout=0ms", UrlError::Time),
            ("memory://?timeout=ms", UrlError::Time),
            ("memory://?timeout=100", UrlError::Time),
            ("memory://?connect_timeout=2", UrlError::Time),
            ("memory://?timeout=1.5s", UrlError::Time),
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
