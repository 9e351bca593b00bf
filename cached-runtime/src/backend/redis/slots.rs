//! Which node of a cluster a key belongs to.

use std::sync::Arc;

use redis::Value;

use super::config::Endpoint;
use super::node::Node;

const SLOTS: u16 = 16384;

/// The slot of a key: of what stands between its first braces, if there is something.
fn slot(key: &str) -> u16 {
    let tag = key
        .split_once('{')
        .and_then(|(_, rest)| rest.split_once('}'))
        .map(|(tag, _)| tag)
        .filter(|tag| !tag.is_empty());
    crc16(tag.unwrap_or(key).as_bytes()) % SLOTS
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    })
}

/// Who has which slots.
pub(super) struct Map {
    /// By their first slot; no two have one in common.
    spans: Vec<Span>,
}

struct Span {
    first: u16,
    last: u16,
    node: Arc<Node>,
}

impl Map {
    /// One node has all.
    pub(super) fn single(node: Arc<Node>) -> Self {
        Self { spans: vec![Span { first: 0, last: SLOTS - 1, node }] }
    }

    /// From the reply to `CLUSTER SLOTS` of the node at `asked`.
    pub(super) fn read(
        reply: &Value,
        asked: &Endpoint,
        mut node_at: impl FnMut(Endpoint) -> Arc<Node>,
    ) -> Option<Self> {
        let Value::Array(entries) = reply else { return None };
        let mut spans = Vec::with_capacity(entries.len());
        for entry in entries {
            let Value::Array(entry) = entry else { return None };
            let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = entry.as_slice() else {
                return None;
            };
            let [host, Value::Int(port), ..] = master.as_slice() else { return None };
            let host = match host {
                Value::BulkString(host) => str::from_utf8(host).ok()?,
                _ => "",
            };
            let endpoint = Endpoint { host: host_or(host, asked), port: u16::try_from(*port).ok()? };
            let (first, last) = (u16::try_from(*first).ok()?, u16::try_from(*last).ok()?);
            spans.push(Span { first, last, node: node_at(endpoint) });
        }
        spans.sort_by_key(|span| span.first);
        let sound = spans.iter().all(|span| span.first <= span.last && span.last < SLOTS)
            && spans.windows(2).all(|pair| pair[0].last < pair[1].first);
        (sound && !spans.is_empty()).then_some(Self { spans })
    }

    pub(super) fn node(&self, key: &str) -> Option<&Arc<Node>> {
        if let Some(node) = self.only() {
            return Some(node);
        }
        let slot = slot(key);
        let at = self.spans.partition_point(|span| span.last < slot);
        self.spans.get(at).filter(|span| span.first <= slot).map(|span| &span.node)
    }

    /// The node that has all slots, if there is one.
    pub(super) fn only(&self) -> Option<&Arc<Node>> {
        match self.spans.as_slice() {
            [Span { first: 0, last, node }] if *last == SLOTS - 1 => Some(node),
            _ => None,
        }
    }

    /// All nodes, some of them perhaps several times.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.spans.iter().map(|span| &span.node)
    }
}

/// A node that does not know under which name it is reached leaves it out.
pub(super) fn host_or(host: &str, asked: &Endpoint) -> String {
    if host.is_empty() || host == "?" { asked.host.clone() } else { host.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        for (key, expected) in [("foo", 12182), ("{foo}bar", 12182), ("a{foo}{bar}", 12182), ("", 0)] {
            assert_eq!(slot(key), expected, "{key}");
        }
        assert_eq!(slot("foo{}bar"), crc16(b"foo{}bar") % SLOTS);
        assert_eq!(slot("foo{bar"), crc16(b"foo{bar") % SLOTS);
        assert_eq!(slot("foo{{bar}}zap"), crc16(b"{bar") % SLOTS);
    }
}
