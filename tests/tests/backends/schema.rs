//! What becomes of an entry when the type of its value has changed: the right value, or a miss.

use cached_runtime::backend::codec::{Codec, Json, MessagePack};
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
