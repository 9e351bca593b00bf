//! Runtime
#![forbid(unsafe_code)]

#[expect(missing_docs, reason = "seen by the expansion alone")]
mod call;
mod circle;
mod clock;
mod flight;
#[expect(clippy::needless_pass_by_value, reason = "the expansion hands over what it has made")]
mod function;
mod handle;
#[expect(
    missing_docs,
    clippy::must_use_candidate,
    clippy::unused_self,
    reason = "seen by the expansion alone"
)]
mod key;
#[expect(missing_docs, clippy::unused_self, reason = "seen by the expansion alone")]
mod outcome;
mod policy;
mod report;
mod stats;
mod store;
#[cfg(feature = "testing")]
pub mod testing;

pub use cached_macro::cached;
pub use function::FunctionInfo;
pub use handle::{AsyncHandle, Handle};
pub use key::Key;
#[doc(hidden)]
pub use key::SelfKey;
#[doc(hidden)]
pub use outcome::{Cloneable, IsOption, IsResult, Shareable};
pub use policy::Policy;
pub use report::Report;
pub use stats::Stats;
pub use store::{Store, store};

/// What the expansion of the attribute uses; not for people, and subject to change at any time.
#[doc(hidden)]
pub mod __rt {
    pub use crate::call::{Entry, Lookup, Step, begin, begin_if};
    pub use crate::function::Function;
    pub use crate::key::{Arg, both, key, self_key, type_of};
    pub use crate::outcome::{Ret, cache_err, cache_none, value};
    pub use crate::policy::PolicyBuilder as Policy;
}
