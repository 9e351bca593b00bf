//! Many keys at once.

use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use cached_runtime::backend::driver::{Answer, Awaited, Driver, Expected, Found};
use cached_runtime::{Backend, cached, testing};

use super::{MEMCACHED, REDIS, on_each_engine};

/// The driver of a server, with a count of the lookups that it is asked for.
struct Counting {
    driver: Arc<dyn Driver>,
    lookups: AtomicUsize,
}

impl Counting {
    fn of(url: &str) -> Arc<Self> {
        Arc::new(Self { driver: testing::driver(url), lookups: AtomicUsize::new(0) })
    }
}

impl Driver for Counting {
    fn get(&self, keys: &[&str], deadline: Instant) -> Answer<Vec<Option<Found>>> {
        self.lookups.fetch_add(1, SeqCst);
        self.driver.get(keys, deadline)
    }

    fn set(
        &self,
        key: &str,
        value: &[u8],
        ttl: Option<Duration>,
        expected: Expected,
        deadline: Instant,
    ) -> Answer<bool> {
        self.driver.set(key, value, ttl, expected, deadline)
    }

    fn delete(&self, key: &str, expected: Expected, deadline: Instant) -> Answer<bool> {
        self.driver.delete(key, expected, deadline)
    }

    fn get_async(self: Arc<Self>, keys: Vec<String>, deadline: Instant) -> Awaited<Vec<Option<Found>>> {
        self.lookups.fetch_add(1, SeqCst);
        Arc::clone(&self.driver).get_async(keys, deadline)
    }
}

on_each_engine! {
    fn all_hits_are_one_lookup(engine) {
        static DRIVER: OnceLock<Arc<Counting>> = OnceLock::new();
        static OWN: Backend = Backend::driver(concat!(module_path!(), line!()), || {
            DRIVER.get().expect("the server is there before it is asked").clone()
        });
        #[cached(timeout = 300, backend = OWN)]
        fn f(id: u64) -> String {
            id.to_string()
        }
        #[cached(timeout = 300, backend = OWN)]
        async fn awaited(id: u64) -> String {
            id.to_string()
        }
        let server = engine.start();
        let driver = DRIVER.get_or_init(|| Counting::of(&engine.url(server.address())));
        let keys = || (0..50).collect::<Vec<u64>>();
        let expected: Vec<_> = keys().iter().map(|id| format!("{id} of 50")).collect();
        let runtime = tokio::runtime::Runtime::new().expect("there is room for one");
        {
            let own = testing::isolated();
            let values = f::get_many(keys(), |keys| {
                let values: HashMap<u64, String> =
                    keys.iter().map(|id| (*id, format!("{id} of {}", keys.len()))).collect();
                move |id| values[id].clone()
            });
            assert_eq!(values, expected);
            let load = |keys: Arc<[u64]>| async move { move |id: &u64| format!("{id} of {}", keys.len()) };
            assert_eq!(runtime.block_on(own.store().run(awaited::get_many(keys(), load))), expected);
        }
        let own = testing::isolated();
        let before = driver.lookups.load(SeqCst);
        let values = f::get_many(keys(), |_| -> fn(&u64) -> String { unreachable!("they are there") });
        assert_eq!((values, f::stats().backend_hits), (expected.clone(), 50));
        let load = async |_| -> fn(&u64) -> String { unreachable!("they are there") };
        assert_eq!(runtime.block_on(own.store().run(awaited::get_many(keys(), load))), expected);
        assert_eq!(driver.lookups.load(SeqCst) - before, 2, "one for each function");
    }
}
