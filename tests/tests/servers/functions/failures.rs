//! A server that does not answer, or with nonsense: a call returns what its body returns; after five failures
//! the server is left alone; when it is back, calls hit again.

use std::time::Duration;

use cached_runtime::testing::Guard;
use cached_runtime::{Backend, BackendState, Stats, cached, testing};
use cached_tests::proxy::{Mode, Proxy};
use cached_tests::servers::Server;
use cached_tests::watched;

use super::{MEMCACHED, REDIS, backend, info, on_each_engine};

/// A function, blocking or awaited, and what is known of it.
struct Function<'a> {
    backend: &'static Backend,
    call: &'a dyn Fn(u32) -> u32,
    stats: &'a dyn Fn() -> Stats,
}

impl Function<'_> {
    /// Calls it until it is answered from the backend, which is asked again after a while.
    fn hits_at_last(&self, own: &Guard) {
        let before = (self.stats)().backend_hits;
        cached_tests::eventually(|| {
            own.advance(Duration::from_secs(30));
            assert_eq!((self.call)(1), 2);
            (self.stats)().backend_hits > before
        });
        assert_eq!(info(self.backend).state, BackendState::Closed);
    }

    /// While nothing can be had from the server.
    fn fails_no_call(&self, what: &str) {
        let (before, stats) = (info(self.backend), (self.stats)());
        for n in 1..=20 {
            assert_eq!((self.call)(n), n + 1, "{what}");
        }
        let after = info(self.backend);
        assert_eq!(after.state, BackendState::Open, "{what}");
        assert_eq!(after.failures - before.failures, 5, "{what}: {:?}", after.last_failure);
        assert_eq!(after.operations - before.operations, 5, "{what}: then it is not asked");
        let (errors, skipped) = (stats.backend_errors, stats.backend_skipped);
        let stats = (self.stats)();
        assert_eq!((stats.backend_errors - errors, stats.backend_skipped - skipped), (5, 15), "{what}");
    }
}

/// Does something to the server and takes it back, for a blocking function and for one that is awaited.
macro_rules! while_it_is_so {
    ($url:expr, $what:expr, $begin:expr, $end:expr) => {{
        backend!(OWN, URL);
        #[cached(timeout = "30d", backend = OWN)]
        fn blocking(n: u32) -> u32 {
            n + 1
        }
        #[cached(timeout = "30d", backend = OWN)]
        async fn awaited(n: u32) -> u32 {
            tokio::task::yield_now().await;
            n + 1
        }
        URL.set($url).expect("once in each test");
        let own = testing::isolated();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let functions = [
            Function { backend: &OWN, call: &blocking, stats: &blocking::stats },
            Function {
                backend: &OWN,
                call: &|n| runtime.block_on(own.store().run(async move { awaited(n).await })),
                stats: &|| runtime.block_on(own.store().run(async { awaited::stats().await })),
            },
        ];
        for what in $what {
            for function in &functions {
                function.hits_at_last(&own);
                $begin(what);
                function.fails_no_call(&format!("{what:?}"));
                $end();
                function.hits_at_last(&own);
            }
        }
    }};
}

on_each_engine! {
    fn what_networks_do_fails_no_call(engine) {
        watched(move || {
            let server = engine.start();
            let proxy = Proxy::to(server.address());
            let modes = [
                Mode::Refuse,
                Mode::Close,
                Mode::Swallow,
                Mode::Drip(Duration::from_millis(60)),
                Mode::Late(Duration::from_millis(200)),
                Mode::Half,
                Mode::HalfThenNothing,
                Mode::Answer(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
                Mode::Answer(b"\0\xFF\r\n"),
            ];
            let begin = |mode| proxy.set(mode);
            while_it_is_so!(engine.url(proxy.address()), modes, begin, || proxy.set(Mode::Pass));
        });
    }
}

on_each_engine! {
    fn a_server_that_stands_still_fails_no_call(engine) {
        watched(move || {
            let server = engine.start();
            let stop = |_| server.pause();
            while_it_is_so!(engine.url(server.address()), ["stopped"; 2], stop, || server.resume());
        });
    }
}

on_each_engine! {
    fn a_server_that_is_killed_fails_no_call(engine) {
        watched(move || {
            let server = std::cell::RefCell::new(engine.start());
            let url = engine.url(server.borrow().address());
            let kill = |_| server.borrow_mut().kill();
            while_it_is_so!(url, ["killed"; 2], kill, || Server::restart(&mut server.borrow_mut()));
        });
    }
}

on_each_engine! {
    fn the_server_may_come_after_the_first_call(engine) {
        watched(move || {
            backend!(OWN, URL);
            #[cached(timeout = "30d", backend = OWN)]
            fn f(n: u32) -> u32 {
                n + 1
            }
            let mut server = engine.start();
            server.kill();
            URL.set(engine.url(server.address())).expect("once in each test");
            let own = testing::isolated();
            let function = Function { backend: &OWN, call: &f, stats: &f::stats };
            assert_eq!(f(1), 2);
            server.restart();
            function.hits_at_last(&own);
        });
    }
}
