//! Keys that become bytes, and keys again.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::backend::codec::{CodecError, Coding, MessagePack};
use crate::key::Part;

/// What a part of a key must be where entries are saved to a file, beside [`Key`](crate::Key):
/// `serde::Serialize` and `serde::Deserialize`.
///
/// Implemented for every such type; never implemented by hand.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be part of a key that is saved",
    label = "a saved key is written as bytes and read again: it needs `serde::Serialize` and `serde::Deserialize`",
    note = "derive both for the type: `#[derive(serde::Serialize, serde::Deserialize)]`",
    note = "or leave the argument out of the key: `#[cached(skip(argument))]`",
    note = "or compute the key from the arguments: `#[cached(key = ...)]`"
)]
pub trait SavedKey: Serialize + DeserializeOwned {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned> SavedKey for T {}

/// A part that is known to have an encoding that can be decoded.
pub struct InFile<P: Part> {
    part: P,
    coding: Coding<P::Owned>,
}

/// The one place where a part that cannot be saved is an error.
#[inline]
pub fn in_file<P: Part>(part: P) -> InFile<P>
where
    P::Owned: SavedKey,
{
    InFile { part, coding: Coding::of::<MessagePack>() }
}

impl<P: Part> Part for InFile<P> {
    type Owned = P::Owned;
    #[inline]
    fn hash<H: std::hash::Hasher>(&self, hasher: &mut H) {
        self.part.hash(hasher);
    }
    #[inline]
    fn matches(&self, owned: &Self::Owned) -> bool {
        self.part.matches(owned)
    }
    fn own(&self) -> Self::Owned {
        self.part.own()
    }
    fn same(one: &Self::Owned, other: &Self::Owned) -> bool {
        P::same(one, other)
    }
    fn hash_owned<H: std::hash::Hasher>(owned: &Self::Owned, hasher: &mut H) {
        P::hash_owned(owned, hasher);
    }
}

/// How owned keys become bytes, and keys again.
pub trait KeyCoding<K>: Send + Sync {
    fn encode(&self, key: &K, bytes: &mut Vec<u8>) -> Result<(), CodecError>;
    /// Takes what belongs to the key off the front.
    fn decode(&self, bytes: &mut &[u8]) -> Result<K, CodecError>;
}

/// A key all of whose parts can be saved.
pub trait FileKey: Part {
    fn coding(&self) -> Box<dyn KeyCoding<Self::Owned>>;
}

impl<P: Part> FileKey for InFile<P> {
    fn coding(&self) -> Box<dyn KeyCoding<P::Owned>> {
        Box::new(self.coding)
    }
}

/// Each part after its length.
impl<K> KeyCoding<K> for Coding<K> {
    fn encode(&self, key: &K, bytes: &mut Vec<u8>) -> Result<(), CodecError> {
        let part = Self::encode(self, key)?;
        bytes.extend_from_slice(&u32::try_from(part.len())?.to_le_bytes());
        bytes.extend_from_slice(&part);
        Ok(())
    }

    fn decode(&self, bytes: &mut &[u8]) -> Result<K, CodecError> {
        let (length, rest) = bytes.split_first_chunk().ok_or("there is no part")?;
        let length = usize::try_from(u32::from_le_bytes(*length))?;
        let (part, rest) = rest.split_at_checked(length).ok_or("the part is cut off")?;
        *bytes = rest;
        Self::decode(self, part)
    }
}

macro_rules! tuples {
    ($(($($part:ident $at:tt),*))*) => {$(
        impl<$($part: FileKey),*> FileKey for ($($part,)*) {
            fn coding(&self) -> Box<dyn KeyCoding<Self::Owned>> {
                Box::new(($(self.$at.coding(),)*))
            }
        }

        #[expect(clippy::allow_attributes, reason = "the empty tuple uses less than the others")]
        #[allow(unused_variables, clippy::unused_unit)]
        impl<$($part),*> KeyCoding<($($part,)*)> for ($(Box<dyn KeyCoding<$part>>,)*) {
            fn encode(&self, key: &($($part,)*), bytes: &mut Vec<u8>) -> Result<(), CodecError> {
                $(self.$at.encode(&key.$at, bytes)?;)*
                Ok(())
            }
            fn decode(&self, bytes: &mut &[u8]) -> Result<($($part,)*), CodecError> {
                Ok(($(self.$at.decode(bytes)?,)*))
            }
        }
    )*};
}
tuples! {
    ()
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7)
}
