//! What becomes of an entry when the type of its value has changed: the right value, or a miss.

use std::collections::BTreeMap;
use std::fmt::Debug;

use cached_runtime::backend::codec::{Codec, Json, MessagePack};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The types of the old and of the new release, an old value, and what the new release reads: something, or
/// nothing.
macro_rules! changes {
    ($($what:literal: { $($old:tt)* } => { $($new:tt)* }, $value:expr => $expected:expr;)*) => {$({
        mod old {
            use super::*;
            #[derive(Serialize, Deserialize)]
            pub(super) $($old)*
        }
        mod new {
            use super::*;
            #[derive(Debug, PartialEq, Serialize, Deserialize)]
            pub(super) $($new)*
        }
        #[allow(unused_imports)]
        let written = { use old::*; $value };
        let expected: Option<new::T> = { #[allow(unused_imports)] use new::*; $expected };
        let packed = MessagePack::encode(&written).expect("it has an encoding");
        let read: Option<new::T> = <MessagePack as Codec<new::T>>::decode(&packed).ok();
        assert_eq!(read, expected, "{} in MessagePack", $what);
        let text = Json::encode(&written).expect("it has an encoding");
        let read: Option<new::T> = <Json as Codec<new::T>>::decode(&text).ok();
        assert_eq!(read, expected, "{} in JSON", $what);
    })*};
}

#[test]
fn a_changed_type_reads_the_right_value_or_nothing() {
    changes! {
        "nothing":
            { struct T { pub a: u8, pub b: String } } => { struct T { pub a: u8, pub b: String } },
            T { a: 1, b: "b".into() } => Some(T { a: 1, b: "b".into() });
        "a field added":
            { struct T { pub a: u8 } } => { struct T { pub a: u8, pub b: u8 } },
            T { a: 1 } => None;
        "a field added with a default":
            { struct T { pub a: u8 } } => { struct T { pub a: u8, #[serde(default)] pub b: u8 } },
            T { a: 1 } => Some(T { a: 1, b: 0 });
        "an optional field added":
            { struct T { pub a: u8 } } => { struct T { pub a: u8, pub b: Option<u8> } },
            T { a: 1 } => Some(T { a: 1, b: None });
        "a field removed":
            { struct T { pub a: u8, pub b: u8 } } => { struct T { pub a: u8 } },
            T { a: 1, b: 2 } => None;
        "an optional field removed":
            { struct T { pub a: u8, pub b: Option<u8> } } => { struct T { pub a: u8 } },
            T { a: 1, b: None } => None;
        "fields reordered":
            { struct T { pub a: u8, pub b: u8 } } => { struct T { pub b: u8, pub a: u8 } },
            T { a: 1, b: 2 } => Some(T { a: 1, b: 2 });
        "a field of a wider type":
            { struct T { pub a: u8 } } => { struct T { pub a: u64 } },
            T { a: 1 } => Some(T { a: 1 });
        "a field of a narrower type, that fits":
            { struct T { pub a: u64 } } => { struct T { pub a: u8 } },
            T { a: 1 } => Some(T { a: 1 });
        "a field of a narrower type, that does not fit":
            { struct T { pub a: u64 } } => { struct T { pub a: u8 } },
            T { a: 256 } => None;
        "a field of another sign":
            { struct T { pub a: i8 } } => { struct T { pub a: u8 } },
            T { a: -1 } => None;
        "a field of another type":
            { struct T { pub a: u8 } } => { struct T { pub a: String } },
            T { a: 1 } => None;
        "a field of a list":
            { struct T { pub a: u8 } } => { struct T { pub a: Vec<u8> } },
            T { a: 1 } => None;
        "a field made optional":
            { struct T { pub a: u8 } } => { struct T { pub a: Option<u8> } },
            T { a: 1 } => Some(T { a: Some(1) });
        "a field no longer optional, and nothing there":
            { struct T { pub a: Option<u8> } } => { struct T { pub a: u8 } },
            T { a: None } => None;
        "a field renamed":
            { struct T { pub a: u8 } } => { struct T { pub b: u8 } },
            T { a: 1 } => None;
        "an optional field renamed":
            { struct T { pub a: Option<u8> } } => { struct T { pub b: Option<u8> } },
            T { a: Some(1) } => None;
        "a field with a default renamed":
            { struct T { pub a: u8 } } => { struct T { #[serde(default)] pub b: u8 } },
            T { a: 1 } => None;
        "a field renamed, with its old name as an alias":
            { struct T { pub a: u8 } } => { struct T { #[serde(alias = "a")] pub b: u8 } },
            T { a: 1 } => Some(T { b: 1 });
        "two fields with their names swapped":
            { struct T { pub a: u8, pub b: String } } => { struct T { pub b: u8, pub a: String } },
            T { a: 1, b: "b".into() } => None;
        "a variant added":
            { enum T { A, B(u8) } } => { enum T { C, A, B(u8) } },
            T::B(1) => Some(T::B(1));
        "a variant removed":
            { enum T { A, B } } => { enum T { A } },
            T::B => None;
        "a variant renamed":
            { enum T { A(u8), B } } => { enum T { C(u8), B } },
            T::A(1) => None;
        "variants reordered":
            { enum T { A, B } } => { enum T { B, A } },
            T::A => Some(T::A);
        "a variant that holds more":
            { enum T { A(u8), B } } => { enum T { A(u8, u8), B } },
            T::A(1) => None;
        "a variant that holds nothing any more":
            { enum T { A(u8), B } } => { enum T { A, B } },
            T::A(1) => None;
        "a tuple that is longer":
            { struct T(pub u8, pub u8); } => { struct T(pub u8, pub u8, pub u8); },
            T(1, 2) => None;
        "a tuple that is shorter":
            { struct T(pub u8, pub u8, pub u8); } => { struct T(pub u8, pub u8); },
            T(1, 2, 3) => None;
        "a struct in the place of a tuple, by the order of its fields":
            { struct T(pub u8, pub u8); } => { struct T { pub height: u8, pub width: u8 } },
            T(1, 2) => Some(T { height: 1, width: 2 });
        "a list in the place of a tuple":
            { struct T(pub u8, pub u8); } => { struct T(pub Vec<u8>); },
            T(1, 2) => Some(T(vec![1, 2]));
    }
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Fields {
    a: u32,
    b: Option<String>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Kind {
    Unit,
    New(u8),
    Tuple(u8, String),
    Fields { a: Vec<u8> },
}

/// The keys of a map, which come back as they were; in JSON, whose keys are texts, as they were or not at all.
#[track_caller]
fn keys<K: Debug + Ord + Serialize + DeserializeOwned>(is_json: bool, make: impl Fn() -> Vec<K>) {
    let map = || make().into_iter().map(|key| (key, make())).collect::<BTreeMap<K, Vec<K>>>();
    let packed = MessagePack::encode(&map()).expect("it has an encoding");
    let read: BTreeMap<K, Vec<K>> = MessagePack::decode(&packed).expect("it is one");
    assert_eq!(read, map());
    match Json::encode(&map()) {
        Ok(text) => {
            let read: BTreeMap<K, Vec<K>> = Json::decode(&text).expect("it is one");
            assert_eq!((read, is_json), (map(), true));
        }
        Err(error) => assert!(!is_json, "{error}"),
    }
}

#[test]
fn keys_of_maps_are_of_any_type_and_in_json_what_can_be_a_text() {
    keys(true, || vec!["a".to_owned(), String::new()]);
    keys(true, || vec![-1, i64::MAX]);
    keys(true, || vec![true, false]);
    keys(true, || vec!['a', '7']);
    keys(true, || vec![Kind::Unit]);
    keys(true, || vec![Some(1)]);
    keys(false, || vec![None, Some(1)]);
    keys(false, || vec![(1, 2), (2, 1)]);
    keys(false, || vec![vec![1_u8], vec![]]);
    keys(false, || vec![Fields { a: 1, b: None }, Fields { a: 1, b: Some("b".into()) }]);
    keys(false, || vec![Kind::Unit, Kind::New(1), Kind::Tuple(1, "b".into()), Kind::Fields { a: vec![1] }]);
    keys(false, || vec![BTreeMap::from([((1, 'a'), [Some(Kind::New(2))])])]);
}

#[test]
fn a_field_that_is_unknown_in_a_key_of_a_map_is_noticed() {
    #[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    struct Fewer {
        a: u32,
    }
    let map = BTreeMap::from([((Fields { a: 1, b: None }, 2), "value".to_owned())]);
    let packed = MessagePack::encode(&map).expect("it has an encoding");
    assert!(<MessagePack as Codec<BTreeMap<(Fewer, u8), String>>>::decode(&packed).is_err());
    assert!(<MessagePack as Codec<BTreeMap<(Fields, u8), String>>>::decode(&packed).is_ok());
}
