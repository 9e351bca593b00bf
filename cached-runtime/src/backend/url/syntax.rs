//! The syntax of a URL, also while the program is built: without allocation, traits or iterators.

use super::error::UrlError;
use super::scheme::{Hosts, Parameter, PathIs, Scheme};
use crate::backend::name;

/// The parts of a URL that is known to be right, not decoded yet.
#[derive(Clone, Copy)]
pub(super) struct Parts<'a> {
    pub(super) scheme: Scheme,
    pub(super) user: Option<&'a [u8]>,
    pub(super) password: Option<&'a [u8]>,
    pub(super) hosts: &'a [u8],
    pub(super) path: &'a [u8],
    pub(super) query: &'a [u8],
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
pub(super) const fn split(url: &[u8]) -> Result<Parts<'_>, UrlError> {
    let Some((scheme, rest)) = at_scheme(url) else { return Err(UrlError::NoScheme) };
    let Some(scheme) = Scheme::of(scheme) else { return Err(UrlError::UnknownScheme) };
    ok!(letters(rest));
    let (rest, query) = before_and_after(rest, b'?');
    let (authority, path) = match find(rest, b'/') {
        Some(at) => rest.split_at(at),
        None => (rest, &[] as &[u8]),
    };
    // As where a password has a `/`: what is before that would be taken for hosts, and shown, and what is after it too.
    if find(path, b'@').is_some() || find(query, b'@').is_some() {
        return Err(UrlError::At);
    }
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
    if let Some(error) = scheme.missing() {
        return Err(error);
    }
    Ok(Parts { scheme, user, password, hosts, path, query })
}

pub(super) const fn equal(one: &[u8], other: &[u8]) -> bool {
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

pub(super) const fn find(bytes: &[u8], byte: u8) -> Option<usize> {
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == byte {
            return Some(at);
        }
        at += 1;
    }
    None
}

pub(super) const fn find_last(bytes: &[u8], byte: u8) -> Option<usize> {
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
pub(super) const fn before_and_after(bytes: &[u8], byte: u8) -> (&[u8], &[u8]) {
    match find(bytes, byte) {
        Some(at) => (bytes.split_at(at).0, bytes.split_at(at + 1).1),
        None => (bytes, &[]),
    }
}

pub(super) const fn at_scheme(url: &[u8]) -> Option<(&[u8], &[u8])> {
    let Some(at) = find(url, b':') else { return None };
    let (scheme, rest) = url.split_at(at);
    if at == 0 || rest.len() < 3 || rest[1] != b'/' || rest[2] != b'/' {
        return None;
    }
    Some((scheme, rest.split_at(3).1))
}

pub(super) const fn hex(digit: u8) -> Option<u8> {
    Some(match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        b'A'..=b'F' => digit - b'A' + 10,
        _ => return None,
    })
}

pub(super) const fn letters(bytes: &[u8]) -> Result<(), UrlError> {
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

pub(super) const fn number(bytes: &[u8], most: u64) -> Option<u64> {
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
pub(super) const fn number_and_unit(bytes: &[u8]) -> Option<(u64, &[u8])> {
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
pub(super) const fn duration(text: &[u8]) -> Option<u64> {
    let Some((number, unit)) = number_and_unit(text) else { return None };
    let unit = match unit {
        b"us" => 1000,
        b"ms" => 1_000_000,
        b"s" => 1_000_000_000,
        b"m" => 60_000_000_000,
        _ => return None,
    };
    match number.checked_mul(unit) {
        Some(0) | None => None,
        product => product,
    }
}

pub(super) const fn bytes(text: &[u8]) -> Option<u64> {
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

pub(super) const fn is_prefix(value: &[u8]) -> bool {
    let mut at = 0;
    while at < value.len() {
        if !name::is_legal(value[at]) {
            return false;
        }
        at += 1;
    }
    !value.is_empty() && value.len() <= name::LONGEST_PREFIX
}

pub(super) const fn check_hosts(hosts: &[u8], allowed: Hosts) -> Result<(), UrlError> {
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
pub(super) const fn host_and_port(host: &[u8]) -> Result<(&[u8], Option<u16>), UrlError> {
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

pub(super) const fn check_path(path: &[u8], is: PathIs) -> Result<(), UrlError> {
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

pub(super) const fn check_database(database: &[u8]) -> Result<(), UrlError> {
    match number(database, u32::MAX as u64) {
        Some(_) => Ok(()),
        None => Err(UrlError::Database),
    }
}

pub(super) const fn check_query(query: &[u8], scheme: Scheme) -> Result<(), UrlError> {
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
