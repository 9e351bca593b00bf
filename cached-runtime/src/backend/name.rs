//! What entries are called in a backend: `PREFIX:NAME:vVERSION:HASH`, of printable bytes without spaces, few
//! enough for any engine.

/// A name that is longer, or has other letters, is cut and hashed.
const LONGEST_NAME: usize = 100;
/// The longest prefix that a URL may ask for.
pub(crate) const LONGEST_PREFIX: usize = 40;

/// What stands in the place of the hash in the key of a generation.
const GENERATION: &str = "generation";

/// What stands before the hash in the keys of one function.
pub(crate) fn stem(prefix: &str, name: &str, version: u32) -> String {
    let name = legal(name);
    format!("{prefix}:{name}:v{version}:")
}

/// The key of what has this encoded key.
pub(crate) fn of_entry(stem: &str, encoded: &[u8]) -> String {
    let mut name = String::with_capacity(stem.len() + HASH_LEN);
    name.push_str(stem);
    push_hash(&mut name, hash(encoded));
    name
}

/// The key of a claim beside an entry: who computes anew what is served meanwhile.
pub(crate) fn of_renewal(entry: &str) -> String {
    format!("{entry}:renewal")
}

/// The key of the function's generation; no hash is as short.
pub(crate) fn of_generation(stem: &str) -> String {
    format!("{stem}{GENERATION}")
}

/// What a key is that of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    Entry,
    Generation,
    /// The generation of the tag with this hash.
    Tag(u128),
    /// The generation of all tags.
    AllTags,
}

/// The stem of a key, and what it is that of, if it is one of these.
pub(crate) fn read(key: &str) -> Option<(&str, Named)> {
    let (stem, last) = key.split_at(key.rfind(':')? + 1);
    if last != GENERATION {
        return hash_in(last).map(|_| (stem, Named::Entry));
    }
    // The stem of a function ends with its version.
    let (front, end) = stem.strip_suffix(':')?.rsplit_once(':')?;
    let named = match hash_in(end).filter(|_| front.ends_with(":tag")) {
        Some(tag) => Named::Tag(tag),
        None if end == "tag" => Named::AllTags,
        None => Named::Generation,
    };
    Some((stem, named))
}

/// The hash that this is the text of.
fn hash_in(text: &str) -> Option<u128> {
    let is_hash =
        text.len() == HASH_LEN && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    u128::from_str_radix(text, 16).ok().filter(|_| is_hash)
}

/// What tells a function without a name of its own from others, from the path of a closure in it, its module with
/// its identifier, and a hash of its text. The text counts only where the path may be that of several: functions in
/// blocks of one function, say. Where it is not, the text may change.
pub(crate) fn of_place(path: &str, name: &str, text: u64) -> String {
    if is_unique(path, name) { path.to_owned() } else { format!("{path}#{text:016x}") }
}

/// Whether a path is that of one function only: one that stands in a module, or in an impl that does.
fn is_unique(path: &str, name: &str) -> bool {
    let Some((module, _)) = name.rsplit_once("::") else { return false };
    let path = path.strip_suffix("::{{closure}}").unwrap_or(path);
    if path.contains("{{") || path.split("::").any(|part| part == "_") {
        return false;
    }
    let is_in_module = |path: &str, depth| {
        path.strip_prefix(module).and_then(|rest| rest.strip_prefix("::")).map(|rest| segments(rest) == depth)
    };
    match path.strip_prefix('<').and_then(|rest| rest.split_once(" as ")) {
        // The impl of a trait: there is only one for a type, which is not one of a function's own.
        Some((ty, _)) => is_in_module(ty, 1) != Some(false),
        // A companion, or an impl of a type, and the function.
        None => is_in_module(path, 2) == Some(true),
    }
}

/// The segments of a path, not counting those of what is in angle brackets.
fn segments(path: &str) -> usize {
    let mut depth = 0_usize;
    let mut count = 1;
    for (at, byte) in path.bytes().enumerate() {
        match byte {
            b'<' => depth += 1,
            b'>' if !path[..at].ends_with('-') => depth = depth.saturating_sub(1),
            b':' if depth == 0 && path[..at].ends_with(':') => count += 1,
            _ => {}
        }
    }
    count
}

/// The key of the generation of the tag with this hash. Those of functions have a version in that place.
pub(crate) fn of_tag(prefix: &str, tag: u128) -> String {
    format!("{prefix}:tag:{tag:032x}:generation")
}

/// The key of the generation of all tags.
pub(crate) fn of_all_tags(prefix: &str) -> String {
    format!("{prefix}:tag:generation")
}

/// 128 bits of BLAKE3.
pub(crate) fn hash(bytes: &[u8]) -> u128 {
    blake3::hash(bytes).as_bytes().first_chunk().map_or(0, |bytes| u128::from_be_bytes(*bytes))
}

/// The length of the text of a hash.
const HASH_LEN: usize = 32;

/// Appends a hash as text.
fn push_hash(text: &mut String, hash: u128) {
    let digit = |half: u8| b"0123456789abcdef"[usize::from(half)];
    let digits = hash.to_be_bytes().map(|byte| [digit(byte >> 4), digit(byte & 0xf)]);
    text.push_str(str::from_utf8(digits.as_flattened()).unwrap_or_default());
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
    let mut legal = kept + "~";
    push_hash(&mut legal, hash(name.as_bytes()));
    legal
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::store::cases;

    #[test]
    fn the_text_of_a_function_counts_only_where_its_path_may_be_that_of_several() {
        for (path, name, unique) in [
            ("krate::item::__function::{{closure}}", "krate::item", true),
            ("krate::web::item::__function::{{closure}}", "krate::web::item", true),
            ("krate::Repo::item::{{closure}}", "krate::item", true),
            ("krate::Repo<a::B, fn() -> a::C>::item::{{closure}}", "krate::item", true),
            ("krate::web::<impl krate::Repo>::item::{{closure}}", "krate::web::item", true),
            ("<krate::Repo as krate::Items>::item::{{closure}}", "krate::item", true),
            ("<alloc::vec::Vec<u8> as krate::Items>::item::{{closure}}", "krate::item", true),
            ("krate::outer::item::__function::{{closure}}", "krate::item", false),
            ("krate::outer::{{closure}}::item::__function::{{closure}}", "krate::item", false),
            ("krate::_::<impl krate::Repo>::item::{{closure}}", "krate::item", false),
            ("krate::outer::<impl krate::Repo>::item::{{closure}}", "krate::item", false),
            ("krate::outer::Local::item::{{closure}}", "krate::item", false),
            ("<krate::outer::Local as krate::Items>::item::{{closure}}", "krate::item", false),
            ("anything", "else", false),
        ] {
            assert_eq!(is_unique(path, name), unique, "{path}");
            assert_eq!(of_place(path, name, 7) == of_place(path, name, 8), unique, "{path}");
        }
    }

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
            let tag = hash(name.as_bytes());
            let tags = [of_tag(&"p".repeat(LONGEST_PREFIX), tag), of_all_tags(&"p".repeat(LONGEST_PREFIX))];
            for key in [of_entry(&stem, &encoded), of_generation(&stem)].into_iter().chain(tags) {
                prop_assert!(key.len() <= 250 && key.bytes().all(|byte| byte.is_ascii_graphic()), "{key}");
            }
            let (entry, generation) = (of_entry(&stem, &encoded), of_generation(&stem));
            prop_assert_eq!(read(&entry), Some((&*stem, Named::Entry)));
            prop_assert_eq!(read(&generation), Some((&*stem, Named::Generation)));
            prop_assert_eq!(read(&of_tag("cached", tag)).map(|(_, named)| named), Some(Named::Tag(tag)));
            prop_assert_eq!(read(&of_all_tags("cached")).map(|(_, named)| named), Some(Named::AllTags));
        }
    }
}
