//! What may go wrong with a file, sorted by what is to be done about it.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::Path;

use rusqlite::{ErrorCode, ffi};

use crate::backend::driver::DriverError;

#[derive(Debug)]
pub(super) enum Fault {
    /// Others held the file until the deadline.
    TimedOut,
    /// The file is not what this driver has written: to be set aside.
    Damaged(Box<dyn Error + Send + Sync>),
    /// The file is somebody else's: to be set aside and kept.
    Foreign(Box<dyn Error + Send + Sync>),
    /// The connection no longer leads to the file, or the file is no longer what it was: to be opened anew.
    Stale(Box<dyn Error + Send + Sync>),
    /// No room, in the file or on the disk.
    Full(Box<dyn Error + Send + Sync>),
    /// No room for this value, ever.
    TooLarge,
    /// The system does not let us: to be tried again by a later operation.
    Unavailable(Box<dyn Error + Send + Sync>),
}

impl Fault {
    /// Whether the connection is as good as before.
    pub(super) fn spares_connection(&self) -> bool {
        matches!(self, Self::TimedOut | Self::TooLarge | Self::Full(_))
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        let Some(failure) = error.sqlite_error() else {
            // A column of another type, or no row where there must be one.
            return Self::Damaged(Box::new(error));
        };
        match (failure.code, failure.extended_code) {
            (
                ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::FileLockingProtocolFailed
                | ErrorCode::OperationInterrupted,
                _,
            ) => Self::TimedOut,
            (ErrorCode::NotADatabase, _) => Self::Foreign(Box::new(error)),
            // The file ends where it should not.
            (ErrorCode::SystemIoFailure, ffi::SQLITE_IOERR_SHORT_READ | ffi::SQLITE_IOERR_CORRUPTFS)
            | (ErrorCode::DatabaseCorrupt | ErrorCode::TypeMismatch | ErrorCode::ConstraintViolation, _) => {
                Self::Damaged(Box::new(error))
            }
            // A table that is gone, among others: the file was emptied or replaced in place.
            // And a file that could only be read when it was opened may be open to writers by now.
            (ErrorCode::Unknown | ErrorCode::SchemaChanged | ErrorCode::ReadOnly, _) => {
                Self::Stale(Box::new(error))
            }
            (ErrorCode::DiskFull, _) => Self::Full(Box::new(error)),
            (ErrorCode::TooBig, _) => Self::TooLarge,
            _ => Self::Unavailable(Box::new(error)),
        }
    }
}

impl From<Fault> for DriverError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::TimedOut => Self::TimedOut,
            Fault::TooLarge => Self::TooLarge,
            Fault::Stale(source) | Fault::Full(source) | Fault::Unavailable(source) => {
                Self::Unavailable(source)
            }
            Fault::Damaged(source) | Fault::Foreign(source) => Self::Failed(source),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => formatter.write_str("locked by others"),
            Self::TooLarge => formatter.write_str("too large"),
            Self::Damaged(source)
            | Self::Foreign(source)
            | Self::Stale(source)
            | Self::Full(source)
            | Self::Unavailable(source) => source.fmt(formatter),
        }
    }
}

/// What the system refused, and of which file.
pub(super) fn refused(what: &str, path: &Path, source: io::Error) -> Fault {
    Fault::Unavailable(Box::new(Refused { what: format!("{what} {}", path.display()), source }))
}

#[derive(Debug)]
struct Refused {
    what: String,
    source: io::Error,
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "cannot {}: {}", self.what, self.source)
    }
}

impl Error for Refused {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        // Itself, it is told already.
        self.source.source()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_is_told_once() {
        let Fault::Unavailable(error) = refused("use", Path::new("/f"), io::Error::other("not a file"))
        else {
            panic!("it is unavailable");
        };
        assert_eq!(error.to_string(), "cannot use /f: not a file");
        assert!(error.source().is_none());
    }
}
