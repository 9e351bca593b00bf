//! The file: what it is, records that each follow their length, and an end.
//!
//! | bytes | |
//! |---|---|
//! | 8 | `cchdsave` |
//! | 4 | the version of this format, 1 |
//! | 4, n | the length of a record, and the record; as often as there are entries |
//! | 4 | 0: the end |
//!
//! Numbers are little-endian. A record is one of `backend::envelope`; in place of a generation it has what the
//! function is called in files, and in place of the cost the weight of the entry.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crate::backend::envelope::{Kind, Record};

const MAGIC: &[u8; 8] = b"cchdsave";
const FORMAT: u32 = 1;
const END: [u8; 4] = [0; 4];

/// A file that takes the place of another one once it is finished, and is gone if it never is.
pub(super) struct Draft {
    file: BufWriter<File>,
    /// Where it is, until it is finished.
    path: Option<PathBuf>,
    target: PathBuf,
}

impl Draft {
    /// In the same folder, so that it can be renamed.
    pub(super) fn create(target: &Path) -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let Some(name) = target.file_name() else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"));
        };
        let mut name = name.to_os_string();
        name.push(format!(".{}-{}.new", process::id(), NEXT.fetch_add(1, Relaxed)));
        let path = target.with_file_name(name);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = BufWriter::new(options.open(&path)?);
        let mut draft = Self { file, path: Some(path), target: target.to_owned() };
        draft.file.write_all(MAGIC)?;
        draft.file.write_all(&FORMAT.to_le_bytes())?;
        Ok(draft)
    }

    pub(super) fn push(&mut self, record: &[u8]) -> io::Result<()> {
        let length = u32::try_from(record.len()).map_err(io::Error::other)?;
        self.file.write_all(&length.to_le_bytes())?;
        self.file.write_all(record)
    }

    pub(super) fn finish(mut self) -> io::Result<()> {
        self.file.write_all(&END)?;
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        let Some(path) = &self.path else { return Ok(()) };
        fs::rename(path, &self.target)?;
        self.path = None;
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = fs::remove_file(path);
        }
    }
}

/// The records of a file, each with its function, up to the first that is damaged.
pub(super) struct Records<'a> {
    rest: &'a [u8],
    is_whole: bool,
}

impl<'a> Records<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> io::Result<Self> {
        let invalid = |message: String| Err(io::Error::new(io::ErrorKind::InvalidData, message));
        let Some((format, rest)) = bytes.strip_prefix(MAGIC).and_then(<[u8]>::split_first_chunk) else {
            return invalid("this is no file of saved entries".to_owned());
        };
        match u32::from_le_bytes(*format) {
            FORMAT => Ok(Self { rest, is_whole: false }),
            other => {
                invalid(format!("the saved entries have format {other}, and only {FORMAT} is known here"))
            }
        }
    }

    /// Whether the end was reached, once there are no more.
    pub(super) fn is_whole(&self) -> bool {
        self.is_whole
    }

    fn take(&mut self) -> Option<(u128, &'a [u8])> {
        let (length, rest) = self.rest.split_first_chunk()?;
        if *length == END {
            self.is_whole = rest.is_empty();
            return None;
        }
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (bytes, rest) = rest.split_at_checked(length)?;
        let record = Record::decode(bytes).filter(|record| record.kind == Kind::Value)?;
        self.rest = rest;
        Some((record.generation, bytes))
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = (u128, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let taken = self.take();
        if taken.is_none() {
            // What follows damage cannot be told from more of it.
            self.rest = &[];
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: Record<'_> = Record {
        kind: Kind::Value,
        codec: b'm',
        written: 1,
        expires: Some(2),
        cost: 1,
        generation: 0,
        key: b"key",
        payload: b"payload",
    };

    fn file() -> Vec<u8> {
        let mut bytes = [&MAGIC[..], &FORMAT.to_le_bytes()].concat();
        for generation in 1..4 {
            let record = Record { generation, ..RECORD }.encode().expect("it is short");
            bytes.extend_from_slice(&u32::try_from(record.len()).expect("it is short").to_le_bytes());
            bytes.extend_from_slice(&record);
        }
        bytes.extend_from_slice(&END);
        bytes
    }

    /// The functions of the records, and whether that was all.
    fn read(bytes: &[u8]) -> io::Result<(Vec<u128>, bool)> {
        let mut records = Records::of(bytes)?;
        let functions = records.by_ref().map(|(function, _)| function).collect();
        Ok((functions, records.is_whole()))
    }

    #[test]
    fn what_is_cut_off_is_read_up_to_there() {
        let bytes = file();
        assert_eq!(read(&bytes).expect("it is one"), (vec![1, 2, 3], true));
        let (head, record) = (MAGIC.len() + 4, (bytes.len() - MAGIC.len() - 8) / 3);
        for len in 0..bytes.len() {
            match read(&bytes[..len]) {
                Ok((functions, is_whole)) => {
                    let whole = u128::try_from((len - head) / record).expect("there are few");
                    assert_eq!(functions, (1..=whole).collect::<Vec<_>>(), "{len} bytes");
                    assert!(!is_whole);
                }
                Err(error) => {
                    assert!(len < head && error.kind() == io::ErrorKind::InvalidData, "{len} bytes: {error}");
                }
            }
        }
        let (functions, is_whole) = read(&[&bytes[..], b"\0"].concat()).expect("it begins like one");
        assert_eq!((functions, is_whole), (vec![1, 2, 3], false));
    }

    #[test]
    fn no_flipped_bit_is_taken_for_data() {
        let bytes = file();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            match read(&flipped) {
                Ok((functions, is_whole)) => {
                    assert!([1, 2, 3].starts_with(&functions), "bit {bit}");
                    assert!(!is_whole, "bit {bit}");
                }
                Err(_) => assert!(bit / 8 < MAGIC.len() + 4, "bit {bit}"),
            }
        }
    }

    #[test]
    fn a_newer_file_says_so() {
        let mut bytes = file();
        bytes[MAGIC.len()] = 2;
        let error = read(&bytes).expect_err("it is newer");
        assert!(error.to_string().contains("format 2"), "{error}");
    }
}
