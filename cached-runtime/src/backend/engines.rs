//! The engine of each scheme. An engine is opened without connecting.

use std::sync::Arc;

use super::driver::Driver;
use super::memory::{self, Memory};
use super::null::Null;
use super::url::{Scheme, Url};

/// The driver of a URL, or why there is none.
pub(crate) fn open(url: &Url) -> Result<Arc<dyn Driver>, String> {
    match url.scheme {
        Scheme::Memory => {
            let default = memory::Config::default();
            let max_bytes = url.max_bytes.and_then(|bytes| usize::try_from(bytes).ok());
            Ok(Arc::new(Memory::new(memory::Config { max_bytes: max_bytes.unwrap_or(default.max_bytes) })))
        }
        Scheme::Null => Ok(Arc::new(Null)),
        _ => Err(format!("this build has no engine for {url}")),
    }
}
