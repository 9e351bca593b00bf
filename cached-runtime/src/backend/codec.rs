//! How values become bytes.

mod whole;

use std::error::Error;
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Serialize;
use serde::de::DeserializeOwned;
use whole::whole;

use super::encode::survey;

/// Why a value could not be encoded or decoded.
pub type CodecError = Box<dyn Error + Send + Sync>;

/// How values of type `T` become the bytes that a backend keeps, and values again.
///
/// Without an option it is [`MessagePack`]; `codec = json` takes [`Json`], and `codec = path::to::Own` a type
/// of one's own. What cannot be decoded is a miss.
///
/// ```
/// use cached_runtime::backend::codec::{Codec, CodecError};
/// use cached_runtime::cached;
///
/// /// Text as it is.
/// struct Text;
///
/// impl Codec<String> for Text {
///     const ID: u8 = 200;
///     fn encode(value: &String) -> Result<Vec<u8>, CodecError> {
///         Ok(value.clone().into_bytes())
///     }
///     fn decode(bytes: &[u8]) -> Result<String, CodecError> {
///         Ok(std::str::from_utf8(bytes)?.to_owned())
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{T}` cannot be kept outside the process by the codec `{Self}`",
    label = "a value in a backend or a file is kept as bytes: it needs `serde::Serialize` and `serde::Deserialize`",
    note = "derive both for the type: `#[derive(serde::Serialize, serde::Deserialize)]`",
    note = "or say how it becomes bytes: `#[cached(codec = path::to::YourCodec)]`"
)]
pub trait Codec<T> {
    /// Tells its encodings from those of others: what another codec has written is a miss. Those from 128 on
    /// are free.
    const ID: u8;

    /// The value as bytes.
    ///
    /// # Errors
    ///
    /// If it has no encoding. Then it is not stored.
    fn encode(value: &T) -> Result<Vec<u8>, CodecError>;

    /// The value that was encoded; of what came from elsewhere, do not trust a byte.
    ///
    /// # Errors
    ///
    /// If the bytes are no such value. Then the call is a miss.
    fn decode(bytes: &[u8]) -> Result<T, CodecError>;
}

/// `MessagePack` with named fields: fields may be reordered, or added with `#[serde(default)]`.
#[derive(Debug)]
pub struct MessagePack;

/// JSON: to be read by other programs, and by people.
#[derive(Debug)]
pub struct Json;

const SOME_NOTHING: &str = "there is a `Some` in the value that would come back as `None`";

/// Values nested deeper than this are not decoded.
const DEEPEST: usize = 128;

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned> Codec<T> for MessagePack {
    const ID: u8 = b'm';

    /// Not if there is a `Some(None)` or a `Some(())` in it, which would come back as `None`. What serde's
    /// attributes lose, as `skip` does, it does not see.
    fn encode(value: &T) -> Result<Vec<u8>, CodecError> {
        if survey(value)?.some_nothing {
            return Err(SOME_NOTHING.into());
        }
        Ok(rmp_serde::to_vec_named(value)?)
    }

    fn decode(bytes: &[u8]) -> Result<T, CodecError> {
        let mut decoder = rmp_serde::Deserializer::new(Cursor::new(bytes));
        decoder.set_max_depth(DEEPEST);
        let value = whole(&mut decoder)?;
        if decoder.get_ref().position() != bytes.len() as u64 {
            return Err("there is more than a value".into());
        }
        Ok(value)
    }
}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned> Codec<T> for Json {
    const ID: u8 = b'j';

    /// Not if there is a `Some(None)`, a `Some(())` or a `Some(NaN)` in it, which would come back as `None`, nor if
    /// the keys of a map are none of JSON's, which are texts: tuples, structs and lists are not.
    fn encode(value: &T) -> Result<Vec<u8>, CodecError> {
        let survey = survey(value)?;
        if survey.some_nothing || survey.some_infinite {
            return Err(SOME_NOTHING.into());
        }
        Ok(serde_json::to_vec(value)?)
    }

    /// Nested by at most 127.
    fn decode(bytes: &[u8]) -> Result<T, CodecError> {
        let mut decoder = serde_json::Deserializer::from_slice(bytes);
        let value = whole(&mut decoder)?;
        decoder.end()?;
        Ok(value)
    }
}

/// A codec for values of one type, as two functions.
pub(crate) struct Coding<T> {
    pub(crate) id: u8,
    encode: fn(&T) -> Result<Vec<u8>, CodecError>,
    decode: fn(&[u8]) -> Result<T, CodecError>,
}

/// What a codec panics with fails no call.
pub(crate) fn caught<T>(work: impl FnOnce() -> Result<T, CodecError>) -> Result<T, CodecError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err("the codec panicked".into()))
}

impl<T> Coding<T> {
    pub(crate) const fn of<C: Codec<T>>() -> Self {
        Self { id: C::ID, encode: C::encode, decode: C::decode }
    }

    pub(crate) fn encode(&self, value: &T) -> Result<Vec<u8>, CodecError> {
        caught(|| (self.encode)(value))
    }

    pub(crate) fn decode(&self, bytes: &[u8]) -> Result<T, CodecError> {
        caught(|| (self.decode)(bytes))
    }
}

impl<T> Clone for Coding<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Coding<T> {}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Nested {
        inner: Option<Box<Nested>>,
    }

    fn nested(depth: usize) -> Nested {
        (0..depth).fold(Nested { inner: None }, |inner, _| Nested { inner: Some(Box::new(inner)) })
    }

    #[test]
    fn what_would_come_back_as_something_else_is_refused() {
        assert!(MessagePack::encode(&Some(None::<u8>)).is_err());
        assert!(Json::encode(&Some(None::<u8>)).is_err());
        assert!(Json::encode(&Some(f64::NAN)).is_err());
        for float in [0.1 + 0.2, f64::MIN_POSITIVE, 1.797_693_134_862_315_7e308, -0.0, 123_456.789e-30] {
            let bytes = Json::encode(&float).expect("it has an encoding");
            let back = <Json as Codec<f64>>::decode(&bytes).expect("it is one");
            assert_eq!(back.to_bits(), float.to_bits());
        }
    }

    #[test]
    fn what_is_nested_too_deep_is_refused_and_harms_nobody() {
        let shallow = nested(20);
        let bytes = MessagePack::encode(&shallow).expect("it has an encoding");
        assert_eq!(<MessagePack as Codec<Nested>>::decode(&bytes).expect("it is one"), shallow);
        for deep in [vec![0x91; 100_000], vec![b'['; 100_000]] {
            assert!(<MessagePack as Codec<serde_json::Value>>::decode(&deep).is_err());
            assert!(<Json as Codec<serde_json::Value>>::decode(&deep).is_err());
        }
    }

    #[test]
    fn lengths_that_are_lies_are_refused_in_little_memory() {
        // Lists and strings of 2^32 - 1.
        for lie in
            [[0xdd, 0xff, 0xff, 0xff, 0xff], [0xdb, 0xff, 0xff, 0xff, 0xff], [0xc6, 0xff, 0xff, 0xff, 0xff]]
        {
            assert!(<MessagePack as Codec<Vec<u64>>>::decode(&lie).is_err());
            assert!(<MessagePack as Codec<String>>::decode(&lie).is_err());
        }
    }

    #[test]
    fn nothing_may_follow_a_value() {
        let mut bytes = MessagePack::encode(&7_u8).expect("it has an encoding");
        assert_eq!(<MessagePack as Codec<u8>>::decode(&bytes).expect("it is one"), 7);
        bytes.push(0);
        assert!(<MessagePack as Codec<u8>>::decode(&bytes).is_err());
        assert!(<Json as Codec<u8>>::decode(b"7 8").is_err());
    }
}
