//! Values that are stale, on real servers.

use std::thread;
use std::time::Duration;

use cached_runtime::testing::Isolated;
use cached_runtime::{Backend, cached, testing};
use cached_tests::{Gate, Runs, eventually, process, within};

use super::{MEMCACHED, REDIS, backend, on_each_engine};

/// Two processes a minute later, and a little more, as no two clocks are the same.
fn over_a_minute_later(processes: &[Isolated; 2]) {
    for process in processes {
        within(process, || testing::advance(Duration::from_secs(61)));
    }
}

on_each_engine! {
    fn one_process_computes_anew_what_all_serve(engine) {
        backend!(OWN, URL);
        static RUNS: Runs = Runs::new();
        static GATE: Gate = Gate::new();
        #[cached(timeout = 60, stale_while_revalidate = "10m", backend = OWN)]
        fn f(n: u8) -> u32 {
            let _ = n;
            let run = RUNS.add();
            if run > 1 {
                GATE.pass();
            }
            run
        }
        let server = engine.start();
        URL.get_or_init(|| engine.url(server.address()));
        let processes = [process(), process()];
        let [a, b] = &processes;
        assert_eq!(within(a, || f(1)), 1);
        over_a_minute_later(&processes);
        for process in [a, b, a, b] {
            assert_eq!(within(process, || f(1)), 1);
        }
        eventually(|| RUNS.get() == 2);
        GATE.open();
        eventually(|| within(b, || f::peek(1)) == Some(2));
        assert_eq!((within(a, || f(1)), RUNS.get()), (2, 2));
        // Its claim has gone, so that the next one may begin.
        over_a_minute_later(&processes);
        eventually(|| {
            let value = within(b, || f(1));
            if RUNS.get() == 2 {
                // Where the claim was still there, it does not ask again for a second, and its clock stands still.
                thread::sleep(Duration::from_millis(10));
                within(b, || testing::advance(Duration::from_secs(1)));
            }
            value == 2 && RUNS.get() == 3
        });
        assert!(!within(a, || f::invalidate(1)));
        GATE.open();
        let computations = || within(a, f::stats).computations + within(b, f::stats).computations;
        eventually(|| computations() == 3);
        assert_eq!(within(a, || f::peek(1)), None, "what was computed meanwhile is fenced");
    }
}

on_each_engine! {
    fn an_error_is_hidden_and_the_origin_left_alone_by_all(engine) {
        backend!(OWN, URL);
        static RUNS: Runs = Runs::new();
        #[cached(timeout = 60, stale_if_error = "1h", error_backoff = "1h", lease = "1h", backend = OWN)]
        fn f(n: u8) -> Result<u8, String> {
            let _ = n;
            if RUNS.add() == 1 { Ok(1) } else { Err("down".into()) }
        }
        let server = engine.start();
        URL.get_or_init(|| engine.url(server.address()));
        let processes = [process(), process()];
        assert_eq!(within(&processes[0], || f(1)), Ok(1));
        over_a_minute_later(&processes);
        thread::scope(|scope| {
            for process in processes.iter().cycle().take(8) {
                scope.spawn(|| within(process, || assert_eq!(f(1), Ok(1))));
            }
        });
        assert_eq!(RUNS.get(), 2);
    }
}

on_each_engine! {
    fn what_is_used_does_not_become_idle_on_the_server(engine) {
        backend!(OWN, URL);
        static RUNS: Runs = Runs::new();
        #[cached(timeout = "1h", idle_timeout = "2m", backend = OWN)]
        fn f(n: u8) -> u32 {
            let _ = n;
            RUNS.add()
        }
        let server = engine.start();
        URL.get_or_init(|| engine.url(server.address()));
        let processes = [process(), process()];
        for process in processes.iter().cycle().take(6) {
            assert_eq!(within(process, || f(1)), 1);
            over_a_minute_later(&processes);
        }
        over_a_minute_later(&processes);
        assert_eq!(within(&processes[0], || f(1)), 2);
    }
}
