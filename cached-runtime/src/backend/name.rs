//! What entries are called in a backend: `PREFIX:NAME:vVERSION:HASH`, of printable bytes without spaces, few
//! enough for any engine.

use std::fmt::Write;

/// A name that is longer, or has other letters, is cut and hashed.
const LONGEST_NAME: usize = 100;
/// The longest prefix that a URL may ask for.
pub(crate) const LONGEST_PREFIX: usize = 40;

/// What stands before the hash in the keys of one function.
pub(crate) fn stem(prefix: &str, name: &str, version: u32) -> String {
    let name = legal(name);
    format!("{prefix}:{name}:v{version}:")
}

/// The key of what has this encoded key.
pub(crate) fn of_entry(stem: &str, encoded: &[u8]) -> String {
    format!("{stem}{}", short_hash(encoded))
}

/// The key of the function's generation; no hash is as short.
pub(crate) fn of_generation(stem: &str) -> String {
    format!("{stem}generation")
}

/// 128 bits of BLAKE3.
fn short_hash(bytes: &[u8]) -> String {
    let hash = blake3::hash(bytes);
    hash.as_bytes().iter().take(16).fold(String::with_capacity(32), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

pub(crate) const fn is_legal(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'/' | b'<' | b'>')
}

fn legal(name: &str) -> String {
    if name.len() <= LONGEST_NAME && name.bytes().all(|byte| is_legal(byte) || byte == b':') {
        return name.to_owned();
    }
    let kept: String = name.chars().filter(|it| it.is_ascii() && is_legal(*it as u8)).take(40).collect();
    // No name that is kept whole has a `~`.
    format!("{kept}~{}", short_hash(name.as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::store::cases;

    #[test]
    fn names_are_told_apart_whatever_is_in_them() {
        let long = "x".repeat(300);
        let longer = long.clone() + "x";
        let names = [
            "shop::item",
            "shop:item",
            "shop item",
            "shop\nitem",
            "shop\titem",
            "shopitem",
            "",
            " ",
            "~",
            "Straße",
            "Strasse",
            &long,
            &longer,
        ];
        let stems: HashSet<String> = names.iter().map(|name| stem("cached", name, 0)).collect();
        assert_eq!(stems.len(), names.len());
        assert_eq!(stem("cached", "shop::item", 2), "cached:shop::item:v2:");
    }

    proptest! {
        #![proptest_config(cases(300))]
        #[test]
        fn every_key_is_legal(name in ".*", encoded in proptest::collection::vec(any::<u8>(), 0..99)) {
            let stem = stem(&"p".repeat(LONGEST_PREFIX), &name, u32::MAX);
            for key in [of_entry(&stem, &encoded), of_generation(&stem)] {
                prop_assert!(key.len() <= 250 && key.bytes().all(|byte| byte.is_ascii_graphic()), "{key}");
            }
        }
    }
}
