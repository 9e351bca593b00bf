//! The canonical encoding of a key: every value with its type and its end, so that no two different keys have
//! the same bytes, on whatever machine they are made.

use std::fmt;

use serde::Serialize;
use serde::ser::{self, Serializer};

/// What a part of a key must be to take part in the key of a backend, beside [`Key`](crate::Key):
/// `serde::Serialize`.
///
/// Implemented for every such type; never implemented by hand.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be part of a key in a backend",
    label = "a key in a backend is made of bytes: it needs `serde::Serialize`",
    note = "derive it for the type: `#[derive(serde::Serialize)]`",
    note = "or leave the argument out of the key: `#[cached(skip(argument))]`",
    note = "or compute the key from the arguments: `#[cached(key = ...)]`"
)]
pub trait SharedKey: Serialize {}

#[diagnostic::do_not_recommend]
impl<T: ?Sized + Serialize> SharedKey for T {}

/// The bytes of a key, as they grow.
#[derive(Default)]
pub struct Encoder {
    bytes: Vec<u8>,
    /// What has been found out about the value, where its bytes are not wanted.
    survey: Option<Survey>,
}

/// What self-describing formats cannot tell apart.
#[derive(Clone, Copy, Default)]
pub(crate) struct Survey {
    /// A `Some` was the last thing before what comes now.
    after_some: bool,
    /// There is a `Some(None)` or a `Some(())`, which `MessagePack` and JSON write as they do `None`.
    pub(crate) some_nothing: bool,
    /// There is a `Some(NaN)` or the like, which JSON writes so, too.
    pub(crate) some_infinite: bool,
}

/// Looks at a value for what a format may not keep.
pub(crate) fn survey<T: ?Sized + Serialize>(value: &T) -> Result<Survey, NoEncoding> {
    let mut encoder = Encoder { bytes: Vec::new(), survey: Some(Survey::default()) };
    value.serialize(&mut encoder)?;
    Ok(encoder.survey.unwrap_or_default())
}

/// A type that says that it has no encoding.
#[derive(Debug)]
pub struct NoEncoding(String);

mod tag {
    pub(super) const FALSE: u8 = 1;
    pub(super) const TRUE: u8 = 2;
    pub(super) const I8: u8 = 3;
    pub(super) const I16: u8 = 4;
    pub(super) const I32: u8 = 5;
    pub(super) const I64: u8 = 6;
    pub(super) const I128: u8 = 7;
    pub(super) const U8: u8 = 8;
    pub(super) const U16: u8 = 9;
    pub(super) const U32: u8 = 10;
    pub(super) const U64: u8 = 11;
    pub(super) const U128: u8 = 12;
    pub(super) const F32: u8 = 13;
    pub(super) const F64: u8 = 14;
    pub(super) const CHAR: u8 = 15;
    pub(super) const TEXT: u8 = 16;
    pub(super) const BYTES: u8 = 17;
    pub(super) const NONE: u8 = 18;
    pub(super) const SOME: u8 = 19;
    pub(super) const UNIT: u8 = 20;
    pub(super) const VARIANT: u8 = 21;
    pub(super) const LIST: u8 = 22;
    pub(super) const TUPLE: u8 = 23;
    pub(super) const MAP: u8 = 24;
    pub(super) const FIELDS: u8 = 25;
    pub(super) const ITEM: u8 = 26;
    pub(super) const END: u8 = 0;
}

impl Encoder {
    /// With room for so many bytes.
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), survey: None }
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// A tag, and some bytes of its value.
    fn push(&mut self, tag: u8, bytes: &[u8]) {
        if let Some(survey) = &mut self.survey {
            let after_some = std::mem::replace(&mut survey.after_some, tag == tag::SOME);
            survey.some_nothing |= after_some && matches!(tag, tag::NONE | tag::UNIT);
            return;
        }
        self.bytes.push(tag);
        self.bytes.extend_from_slice(bytes);
    }

    fn float(&mut self, is_finite: bool) {
        if let Some(survey) = &mut self.survey {
            survey.some_infinite |= survey.after_some && !is_finite;
        }
    }

    /// One more item of the tuple that the whole key is.
    pub(crate) fn item<T: ?Sized + Serialize>(&mut self, value: &T) -> Result<(), NoEncoding> {
        self.push(tag::ITEM, &[]);
        value.serialize(self)
    }

    fn counted(&mut self, tag: u8, bytes: &[u8]) {
        self.push(tag, &(bytes.len() as u64).to_le_bytes());
        if self.survey.is_none() {
            self.bytes.extend_from_slice(bytes);
        }
    }

    fn variant(&mut self, name: &str) {
        self.counted(tag::VARIANT, name.as_bytes());
    }

    fn begin(&mut self, tag: u8) -> Many<'_> {
        self.push(tag, &[]);
        Many(self)
    }
}

macro_rules! numbers {
    ($($method:ident $type:ty: $tag:ident;)*) => {$(
        fn $method(self, value: $type) -> Result<(), NoEncoding> {
            self.push(tag::$tag, &value.to_le_bytes());
            Ok(())
        }
    )*};
}

impl<'a> Serializer for &'a mut Encoder {
    type Ok = ();
    type Error = NoEncoding;
    type SerializeSeq = Many<'a>;
    type SerializeTuple = Many<'a>;
    type SerializeTupleStruct = Many<'a>;
    type SerializeTupleVariant = Many<'a>;
    type SerializeMap = Map<'a>;
    type SerializeStruct = Many<'a>;
    type SerializeStructVariant = Many<'a>;

    numbers! {
        serialize_i8 i8: I8;
        serialize_i16 i16: I16;
        serialize_i32 i32: I32;
        serialize_i64 i64: I64;
        serialize_i128 i128: I128;
        serialize_u8 u8: U8;
        serialize_u16 u16: U16;
        serialize_u32 u32: U32;
        serialize_u64 u64: U64;
        serialize_u128 u128: U128;
    }

    fn serialize_f32(self, value: f32) -> Result<(), NoEncoding> {
        self.float(value.is_finite());
        self.push(tag::F32, &value.to_le_bytes());
        Ok(())
    }

    fn serialize_f64(self, value: f64) -> Result<(), NoEncoding> {
        self.float(value.is_finite());
        self.push(tag::F64, &value.to_le_bytes());
        Ok(())
    }

    fn serialize_bool(self, value: bool) -> Result<(), NoEncoding> {
        self.push(if value { tag::TRUE } else { tag::FALSE }, &[]);
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<(), NoEncoding> {
        self.push(tag::CHAR, &u32::from(value).to_le_bytes());
        Ok(())
    }

    fn serialize_str(self, value: &str) -> Result<(), NoEncoding> {
        self.counted(tag::TEXT, value.as_bytes());
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), NoEncoding> {
        self.counted(tag::BYTES, value);
        Ok(())
    }

    fn serialize_none(self) -> Result<(), NoEncoding> {
        self.push(tag::NONE, &[]);
        Ok(())
    }

    fn serialize_some<T: ?Sized + Serialize>(self, value: &T) -> Result<(), NoEncoding> {
        self.push(tag::SOME, &[]);
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), NoEncoding> {
        self.push(tag::UNIT, &[]);
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), NoEncoding> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), NoEncoding> {
        self.variant(variant);
        self.serialize_unit()
    }

    fn serialize_newtype_struct<T: ?Sized + Serialize>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), NoEncoding> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: ?Sized + Serialize>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), NoEncoding> {
        self.variant(variant);
        value.serialize(self)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Many<'a>, NoEncoding> {
        Ok(self.begin(tag::LIST))
    }

    fn serialize_tuple(self, _: usize) -> Result<Many<'a>, NoEncoding> {
        Ok(self.begin(tag::TUPLE))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Many<'a>, NoEncoding> {
        Ok(self.begin(tag::TUPLE))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Many<'a>, NoEncoding> {
        self.variant(variant);
        Ok(self.begin(tag::TUPLE))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Map<'a>, NoEncoding> {
        Ok(Map { encoder: self, entries: Vec::new(), key: Vec::new() })
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Many<'a>, NoEncoding> {
        Ok(self.begin(tag::FIELDS))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Many<'a>, NoEncoding> {
        self.variant(variant);
        Ok(self.begin(tag::FIELDS))
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// Items up to an end.
pub struct Many<'a>(&'a mut Encoder);

impl Many<'_> {
    fn item<T: ?Sized + Serialize>(&mut self, value: &T) -> Result<(), NoEncoding> {
        self.0.item(value)
    }

    fn field<T: ?Sized + Serialize>(&mut self, name: &str, value: &T) -> Result<(), NoEncoding> {
        self.item(name)?;
        self.item(value)
    }

    fn finish(self) {
        self.0.push(tag::END, &[]);
    }
}

macro_rules! many {
    ($($trait:ident $method:ident;)*) => {$(
        impl ser::$trait for Many<'_> {
            type Ok = ();
            type Error = NoEncoding;
            fn $method<T: ?Sized + Serialize>(&mut self, value: &T) -> Result<(), NoEncoding> {
                self.item(value)
            }
            fn end(self) -> Result<(), NoEncoding> {
                self.finish();
                Ok(())
            }
        }
    )*};
}
many! {
    SerializeSeq serialize_element;
    SerializeTuple serialize_element;
    SerializeTupleStruct serialize_field;
    SerializeTupleVariant serialize_field;
}

macro_rules! fields {
    ($($trait:ident)*) => {$(
        impl ser::$trait for Many<'_> {
            type Ok = ();
            type Error = NoEncoding;
            fn serialize_field<T: ?Sized + Serialize>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), NoEncoding> {
                self.field(name, value)
            }
            fn end(self) -> Result<(), NoEncoding> {
                self.finish();
                Ok(())
            }
        }
    )*};
}
fields!(SerializeStruct SerializeStructVariant);

/// A map; its entries in the order of their encoded keys, whatever order they came in.
pub struct Map<'a> {
    encoder: &'a mut Encoder,
    entries: Vec<(Vec<u8>, Vec<u8>)>,
    key: Vec<u8>,
}

fn encoded<T: ?Sized + Serialize>(value: &T) -> Result<Vec<u8>, NoEncoding> {
    let mut encoder = Encoder::default();
    encoder.item(value)?;
    Ok(encoder.into_bytes())
}

impl ser::SerializeMap for Map<'_> {
    type Ok = ();
    type Error = NoEncoding;

    fn serialize_key<T: ?Sized + Serialize>(&mut self, key: &T) -> Result<(), NoEncoding> {
        if self.encoder.survey.is_some() {
            return self.encoder.item(key);
        }
        self.key = encoded(key)?;
        Ok(())
    }

    fn serialize_value<T: ?Sized + Serialize>(&mut self, value: &T) -> Result<(), NoEncoding> {
        if self.encoder.survey.is_some() {
            return self.encoder.item(value);
        }
        self.entries.push((std::mem::take(&mut self.key), encoded(value)?));
        Ok(())
    }

    fn end(mut self) -> Result<(), NoEncoding> {
        self.entries.sort_unstable();
        self.encoder.push(tag::MAP, &[]);
        for (key, value) in &self.entries {
            self.encoder.bytes.extend_from_slice(key);
            self.encoder.bytes.extend_from_slice(value);
        }
        self.encoder.push(tag::END, &[]);
        Ok(())
    }
}

impl fmt::Display for NoEncoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the key has no encoding: {}", self.0)
    }
}

impl std::error::Error for NoEncoding {}

impl ser::Error for NoEncoding {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::collections::{BTreeMap, BTreeSet, HashMap};

    use super::*;

    #[derive(Serialize)]
    enum Shape {
        Unit,
        Other,
        New(u8),
        Tuple(u8, u8),
        Fields { a: u8 },
    }

    #[derive(Serialize)]
    struct Fields {
        a: &'static str,
        b: &'static str,
    }

    fn bytes<T: ?Sized + Serialize>(value: &T) -> Vec<u8> {
        encoded(value).expect("it has an encoding")
    }

    #[test]
    fn different_keys_have_different_bytes() {
        let different = [
            bytes("1"),
            bytes(&1_u8),
            bytes(&1_u16),
            bytes(&1_i8),
            bytes(&1_u128),
            bytes(&'1'),
            bytes(&true),
            bytes(&false),
            bytes(&0_u8),
            bytes(""),
            bytes(&()),
            bytes(&None::<u8>),
            bytes(&Some(0_u8)),
            bytes(&Some(None::<u8>)),
            bytes(&Some("")),
            bytes(&("a", "bc")),
            bytes(&("ab", "c")),
            bytes(&("1:y:2", "3")),
            bytes(&("1", "2:y:3")),
            bytes(&["a", "bc"][..]),
            bytes(&[["a"], ["b"]]),
            bytes(&[vec!["a", "b"]]),
            bytes(&[vec!["a"], vec!["b"]]),
            bytes(&Vec::<u8>::new()),
            bytes(&[Vec::<u8>::new()]),
            bytes(&Shape::Unit),
            bytes(&Shape::Other),
            bytes(&Shape::New(0)),
            bytes(&Shape::Tuple(0, 0)),
            bytes(&Shape::Fields { a: 0 }),
            bytes("Unit"),
            bytes(&Fields { a: "b", b: "c" }),
            bytes(&Fields { a: "bb", b: "c" }),
            bytes(&BTreeMap::from([("a", "b")])),
            bytes(&BTreeMap::from([("a", "b"), ("c", "d")])),
            bytes(&BTreeMap::from([("a", BTreeMap::from([("b", "c")]))])),
        ];
        let distinct: BTreeSet<_> = different.iter().collect();
        assert_eq!(distinct.len(), different.len());
    }

    #[test]
    fn owned_and_borrowed_forms_and_any_order_of_a_map_have_the_same_bytes() {
        assert_eq!(bytes("a"), bytes(&String::from("a")));
        assert_eq!(bytes("a"), bytes(&Cow::Borrowed("a")));
        assert_eq!(bytes(&["a", "b"][..]), bytes(&vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(bytes(&Some("a")), bytes(&Some("a".to_owned())));
        let ordered: BTreeMap<_, _> = (0..100).map(|n| (n, n)).collect();
        let unordered: HashMap<_, _> = (0..100).map(|n| (n, n)).collect();
        assert_eq!(bytes(&ordered), bytes(&unordered));
    }

    #[test]
    fn what_formats_cannot_tell_apart_is_found() {
        let survey = |value: Result<Survey, NoEncoding>| {
            let Survey { some_nothing, some_infinite, .. } = value.expect("it has an encoding");
            (some_nothing, some_infinite)
        };
        assert_eq!(survey(super::survey(&Some(None::<u8>))), (true, false));
        assert_eq!(survey(super::survey(&[("a", Some(()))])), (true, false));
        assert_eq!(survey(super::survey(&BTreeMap::from([(1, Some(None::<u8>))]))), (true, false));
        assert_eq!(survey(super::survey(&Some(f64::NAN))), (false, true));
        assert_eq!(survey(super::survey(&(Some(1.0), None::<u8>, (), Some([()])))), (false, false));
        assert_eq!(survey(super::survey(&(f64::NAN, Some(Some(1)), Some(Shape::Unit)))), (false, false));
    }

    #[test]
    fn an_encoding_does_not_change() {
        let key = (7_u64, "en", Some(vec![1_u8, 2]), Shape::Fields { a: 3 });
        let hash = blake3::hash(&bytes(&key)).to_hex();
        assert_eq!(&hash[..32], "9e3fe792810e17b43fa5287df0f360cb");
    }
}
