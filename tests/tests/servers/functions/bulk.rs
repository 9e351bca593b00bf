//! Many keys at once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use cached_runtime::{Backend, cached, testing};
use cached_tests::proxy::{Mode, Proxy};

use super::{MEMCACHED, REDIS, backend, on_each_engine};

/// So many that as many round trips would take longer than an operation may.
const MANY: u64 = 200;
const LATE: Duration = Duration::from_millis(50);

on_each_engine! {
    fn all_hits_take_one_round_trip(engine) {
        backend!(OWN, URL);
        #[cached(timeout = 300, backend = OWN)]
        fn f(id: u64) -> String {
            id.to_string()
        }
        #[cached(timeout = 300, backend = OWN)]
        async fn awaited(id: u64) -> String {
            id.to_string()
        }
        let server = engine.start();
        let proxy = Proxy::to(server.address());
        URL.set(format!("{}&timeout=5s", engine.url(proxy.address()))).expect("it is set once");
        let keys = || (0..MANY).collect::<Vec<_>>();
        let expected: Vec<_> = keys().iter().map(|id| format!("{id} of {MANY}")).collect();
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
        proxy.set(Mode::Late(LATE));
        let own = testing::isolated();
        let values = f::get_many(keys(), |_| -> fn(&u64) -> String { unreachable!("they are there") });
        assert_eq!(values, expected);
        assert_eq!((f::stats().backend_hits, f::stats().backend_errors), (MANY, 0));
        let load = |_| async { |_: &u64| -> String { unreachable!("they are there") } };
        assert_eq!(runtime.block_on(own.store().run(awaited::get_many(keys(), load))), expected);
    }
}
