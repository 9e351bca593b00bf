//! A slow function whose result is still good five minutes later needs one line to be cached.
//!
//! ```
//! use cached_runtime::{cached, store};
//!
//! #[cached(timeout = 300)]
//! fn get_my_item(id: u64) -> String {
//!     format!("item {id}") // slow
//! }
//!
//! assert_eq!(get_my_item(7), "item 7"); // computed
//! assert_eq!(get_my_item(7), "item 7"); // served, for five minutes
//! println!("{}", store().report());
//! ```
//!
//! - The attribute [`cached`](macro@cached): every option, with examples.
//! - The attributes [`invalidates`](macro@invalidates) and [`updates`](macro@updates): writers, and what they change.
//! - The [`store`]: statistics of all functions, limits over all of them, an off switch.
//! - Module `backend` (feature `backend`): entries outside the process, in memcached, Redis or a file.
//! - Module `testing` (feature `testing`): a store of a test's own, and a clock that moves when told to.
//!
//! # What one can rely on
//!
//! - Every argument is in the key unless it is skipped; keys are compared in full, by type. Hashing is
//!   seeded at random.
//! - What is past its timeout is not served, unless the function says so; what has expired never is, and its
//!   memory is released within about a second, by itself.
//!   Time is monotonic and told in steps of about two milliseconds while there are very many calls. It may
//!   stand still while the machine sleeps; after the process was stopped, up to 256 calls of a thread may
//!   be answered by the time of before.
//! - Concurrent calls of one key run the body once. A body that panics, or whose future is dropped,
//!   fails its own caller; the others go on.
//! - Calls of annotated functions never wait for one another in a circle: one that would computes
//!   instead. What else a body waits for, such as a thread that it joins, cannot be seen from here; if
//!   that calls the same key, use `single_flight = false`.
//! - An `invalidate` is not undone by a computation that began before it.
//! - A hit takes no lock, writes to no shared memory but a saturating counter of the entry, and
//!   allocates nothing. There is no `unsafe` code.

#![forbid(unsafe_code)]

#[expect(missing_docs, reason = "seen by the expansion alone")]
mod ask;
#[cfg(feature = "backend")]
pub mod backend;
mod bulk;
#[expect(missing_docs, reason = "seen by the expansion alone")]
mod call;
mod circle;
mod clock;
mod computation;
mod epoch;
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
#[cfg(all(test, shuttle, feature = "testing"))]
mod model;
#[expect(missing_docs, clippy::unused_self, reason = "seen by the expansion alone")]
mod outcome;
#[expect(missing_docs, reason = "seen by the expansion alone")]
mod own;
mod policy;
mod pool;
mod process;
mod report;
mod revalidate;
#[cfg(feature = "backend")]
mod saved;
mod shim;
mod spawner;
mod stats;
mod store;
mod tag;
#[cfg(feature = "testing")]
pub mod testing;
mod timer;
mod wakers;
#[expect(
    missing_docs,
    clippy::missing_errors_doc,
    clippy::unused_self,
    reason = "seen by the expansion alone"
)]
mod writer;

#[cfg(feature = "backend")]
pub use backend::encode::SharedKey;
#[cfg(feature = "backend")]
pub use backend::{Backend, BackendInfo, BackendState, Event, backends, on_event};
#[doc = include_str!("cached.md")]
#[cfg_attr(feature = "backend", doc = include_str!("backend.md"))]
#[cfg_attr(feature = "backend", doc = include_str!("saved.md"))]
#[doc(inline)]
pub use cached_macro::cached;
#[doc = include_str!("invalidates.md")]
#[doc(inline)]
pub use cached_macro::invalidates;
#[doc = include_str!("updates.md")]
#[doc(inline)]
pub use cached_macro::updates;
pub use function::FunctionInfo;
pub use handle::{AsyncHandle, Handle};
pub use key::Key;
#[doc(hidden)]
pub use key::{Followed, SelfKey};
#[doc(hidden)]
pub use outcome::{Cloneable, IsOption, IsResult, Shareable};
#[doc(hidden)]
pub use own::{Ownable, OwnableReferent};
pub use policy::{Policy, RefreshAhead};
pub use report::Report;
#[cfg(feature = "backend")]
pub use saved::{Loaded, Saved, SavedKey};
pub use spawner::set_spawner;
pub use stats::Stats;
pub use store::{Store, store};

/// What the expansion of the attribute uses; not for people, and subject to change at any time.
#[doc(hidden)]
pub mod __rt {
    pub use crate::ask::{EntryOf, Invalidate, Peek, Put};
    #[cfg(feature = "backend")]
    pub use crate::backend::{
        Shared,
        codec::{Json, MessagePack},
        many::{get_many_shared, get_many_shared_async},
        shared::{SharedStep, begin_shared, coded, in_backend},
    };
    pub use crate::bulk::{get_many, get_many_async};
    pub use crate::call::{Entry, Lookup, Step, begin, begin_if};
    pub use crate::function::Function;
    pub use crate::key::{Arg, ByReference as Ref, ByValue as Val, both, key, self_key, type_of};
    pub use crate::outcome::{Ret, cache_err, cache_none, value};
    pub use crate::policy::PolicyBuilder as Policy;
    #[cfg(feature = "backend")]
    pub use crate::saved::{Label, begin_saved, in_file};
    pub use crate::tag::tagged;
    pub use crate::writer::{
        Begun, Place, Returned, Success, begun, cleared, done, finished, forget, forget_async, join, run,
        run_async, split,
    };

    pub mod own {
        pub use crate::own::{array, cow, list, optional, reference, slice, twice, value};
    }
}
