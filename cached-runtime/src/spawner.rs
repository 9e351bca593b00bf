//! Where values are computed anew that are still served: threads of our own, or a runtime's.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::thread::{self, Thread};

use parking_lot::RwLock;

use crate::pool::BACKGROUND;

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

type Spawner = Arc<dyn Fn(Task) + Send + Sync>;

static OWN: RwLock<Option<Spawner>> = RwLock::new(None);

/// Says where `async` functions compute a value anew that is still served, as with
/// `stale_while_revalidate`. Without it, that is tokio's runtime, where the call is made on one and the feature
/// `tokio` is on; else a few threads of this crate, each of which runs one such body at a time.
///
/// The spawner is called on the thread of the call. A future that it drops is no more than a value that is not
/// computed for now.
///
/// ```
/// cached_runtime::set_spawner(|task| {
///     std::thread::spawn(|| futures_executor_block_on(task));
/// });
/// # fn futures_executor_block_on<T>(_: T) {}
/// ```
pub fn set_spawner(spawn: impl Fn(Pin<Box<dyn Future<Output = ()> + Send>>) + Send + Sync + 'static) {
    *OWN.write() = Some(Arc::new(spawn));
}

/// Whether a task that is spawned here may be left where nobody polls it: a runtime of one thread runs only while
/// somebody waits for something there.
pub(crate) fn may_be_left() -> bool {
    #[cfg(feature = "tokio")]
    if OWN.read().is_none()
        && let Ok(runtime) = tokio::runtime::Handle::try_current()
    {
        return runtime.runtime_flavor() == tokio::runtime::RuntimeFlavor::CurrentThread;
    }
    false
}

/// Runs a task to its end, somewhere.
pub(crate) fn spawn(task: Task) {
    let own = OWN.read().clone();
    if let Some(own) = own {
        // Its panic is no reason for the caller not to get the value.
        let _ = catch_unwind(AssertUnwindSafe(|| own(task)));
        return;
    }
    #[cfg(feature = "tokio")]
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        drop(runtime.spawn(task));
        return;
    }
    let _ = BACKGROUND.submit(Box::new(|| block_on(task)));
}

/// The same for what blocks.
pub(crate) fn spawn_blocking(work: impl FnOnce() + Send + 'static) {
    let _ = BACKGROUND.submit(Box::new(work));
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on(task: Task) {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut task = pin!(task);
    while task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
        thread::park();
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use super::*;

    #[test]
    fn a_task_is_polled_until_it_is_ready() {
        let mut polls = 0;
        block_on(Box::pin(poll_fn(move |context| {
            polls += 1;
            let waker = context.waker().clone();
            thread::spawn(move || waker.wake());
            if polls == 3 { Poll::Ready(()) } else { Poll::Pending }
        })));
    }
}
