//! Whether a value is all that was encoded. A type that has no place for a field asks for it to be ignored, and that
//! is noticed here, at any depth, in the keys of maps too.

use std::cell::Cell;
use std::fmt;

use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::CodecError;

/// A value, none of whose encoded fields is unknown to its type. One that has been renamed would otherwise
/// come back as one that is absent.
pub(super) fn whole<'de, T: DeserializeOwned, D: Deserializer<'de>>(decoder: D) -> Result<T, CodecError>
where
    D::Error: Send + Sync + 'static,
{
    let ignored = Cell::new(false);
    let value = T::deserialize(Watched { inner: decoder, ignored: &ignored })?;
    if ignored.get() { Err("there is a field that the type does not have".into()) } else { Ok(value) }
}

/// Does what `inner` does, and hands itself on to whatever `inner` is handed, so that all of it is seen.
struct Watched<'a, T> {
    inner: T,
    ignored: &'a Cell<bool>,
}

impl<'a, T> Watched<'a, T> {
    fn with<U>(&self, inner: U) -> Watched<'a, U> {
        Watched { inner, ignored: self.ignored }
    }
}

macro_rules! deserialized {
    ($($method:ident($($argument:ident: $type:ty),*);)*) => {$(
        fn $method<V: Visitor<'de>>(self, $($argument: $type,)* visitor: V) -> Result<V::Value, T::Error> {
            let visitor = self.with(visitor);
            self.inner.$method($($argument,)* visitor)
        }
    )*};
}

impl<'de, T: Deserializer<'de>> Deserializer<'de> for Watched<'_, T> {
    type Error = T::Error;

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, T::Error> {
        self.ignored.set(true);
        self.inner.deserialize_ignored_any(visitor)
    }

    deserialized! {
        deserialize_any();
        deserialize_bool();
        deserialize_i8();
        deserialize_i16();
        deserialize_i32();
        deserialize_i64();
        deserialize_i128();
        deserialize_u8();
        deserialize_u16();
        deserialize_u32();
        deserialize_u64();
        deserialize_u128();
        deserialize_f32();
        deserialize_f64();
        deserialize_char();
        deserialize_str();
        deserialize_string();
        deserialize_bytes();
        deserialize_byte_buf();
        deserialize_option();
        deserialize_unit();
        deserialize_unit_struct(name: &'static str);
        deserialize_newtype_struct(name: &'static str);
        deserialize_seq();
        deserialize_tuple(length: usize);
        deserialize_tuple_struct(name: &'static str, length: usize);
        deserialize_map();
        deserialize_struct(name: &'static str, fields: &'static [&'static str]);
        deserialize_enum(name: &'static str, variants: &'static [&'static str]);
        deserialize_identifier();
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

macro_rules! plain {
    ($($method:ident $type:ty;)*) => {$(
        fn $method<E: serde::de::Error>(self, value: $type) -> Result<T::Value, E> {
            self.inner.$method(value)
        }
    )*};
}

macro_rules! composed {
    ($($method:ident $trait:ident;)*) => {$(
        fn $method<A: $trait<'de>>(self, access: A) -> Result<T::Value, A::Error> {
            let access = self.with(access);
            self.inner.$method(access)
        }
    )*};
}

impl<'de, T: Visitor<'de>> Visitor<'de> for Watched<'_, T> {
    type Value = T::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    plain! {
        visit_bool bool;
        visit_i8 i8;
        visit_i16 i16;
        visit_i32 i32;
        visit_i64 i64;
        visit_i128 i128;
        visit_u8 u8;
        visit_u16 u16;
        visit_u32 u32;
        visit_u64 u64;
        visit_u128 u128;
        visit_f32 f32;
        visit_f64 f64;
        visit_char char;
        visit_str &str;
        visit_borrowed_str &'de str;
        visit_string String;
        visit_bytes &[u8];
        visit_borrowed_bytes &'de [u8];
        visit_byte_buf Vec<u8>;
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<T::Value, E> {
        self.inner.visit_none()
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<T::Value, E> {
        self.inner.visit_unit()
    }

    composed! {
        visit_some Deserializer;
        visit_newtype_struct Deserializer;
        visit_seq SeqAccess;
        visit_map MapAccess;
        visit_enum EnumAccess;
    }
}

impl<'de, T: DeserializeSeed<'de>> DeserializeSeed<'de> for Watched<'_, T> {
    type Value = T::Value;

    fn deserialize<D: Deserializer<'de>>(self, decoder: D) -> Result<T::Value, D::Error> {
        let decoder = self.with(decoder);
        self.inner.deserialize(decoder)
    }
}

impl<'de, T: SeqAccess<'de>> SeqAccess<'de> for Watched<'_, T> {
    type Error = T::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, T::Error> {
        let seed = self.with(seed);
        self.inner.next_element_seed(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, T: MapAccess<'de>> MapAccess<'de> for Watched<'_, T> {
    type Error = T::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, T::Error> {
        let seed = self.with(seed);
        self.inner.next_key_seed(seed)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, T::Error> {
        let seed = self.with(seed);
        self.inner.next_value_seed(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'a, 'de, T: EnumAccess<'de>> EnumAccess<'de> for Watched<'a, T> {
    type Error = T::Error;
    type Variant = Watched<'a, T::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self::Variant), T::Error> {
        let Self { inner, ignored } = self;
        let (value, inner) = inner.variant_seed(Watched { inner: seed, ignored })?;
        Ok((value, Watched { inner, ignored }))
    }
}

impl<'de, T: VariantAccess<'de>> VariantAccess<'de> for Watched<'_, T> {
    type Error = T::Error;

    fn unit_variant(self) -> Result<(), T::Error> {
        self.inner.unit_variant()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, T::Error> {
        let seed = self.with(seed);
        self.inner.newtype_variant_seed(seed)
    }

    deserialized! {
        tuple_variant(length: usize);
        struct_variant(fields: &'static [&'static str]);
    }
}
