//! What a hit costs, next to the least that it could.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::servers::Server;
use super::*;

/// Run it pinned to one CPU, optimised: `taskset -c 0 cargo test --release … speed -- --ignored --nocapture`.
#[test]
#[ignore = "measures"]
fn a_blocking_hit_costs_little_more_than_a_round_trip() {
    let server = Server::start(&[]);
    let (rounds, hits) = (7, 20_000);
    let mut raw = TcpStream::connect(("127.0.0.1", server.port)).expect("a connection");
    raw.set_nodelay(true).expect("a socket");
    let way = Way::blocking(&standalone(server.port));
    way.put("key", &[b'x'; 92]);
    let mut reply = [0; 256];
    let mut best = [Duration::MAX; 3];
    for _ in 0..rounds {
        let begun = Instant::now();
        for _ in 0..hits {
            raw.write_all(b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n").expect("sent");
            assert_eq!(raw.read(&mut reply).expect("a reply"), 108);
        }
        best[0] = best[0].min(begun.elapsed());
        let begun = Instant::now();
        for _ in 0..hits {
            let deadline = Instant::now() + LONG;
            assert!(way.driver.get(&["key"], deadline).expect("an answer")[0].is_some());
        }
        best[1] = best[1].min(begun.elapsed());
        #[cfg(feature = "tokio")]
        {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            best[2] = best[2].min(runtime.block_on(async {
                let begun = Instant::now();
                for _ in 0..hits {
                    let deadline = Instant::now() + LONG;
                    let found = Arc::clone(&way.driver).get_async(vec!["key".into()], deadline).await;
                    assert!(found.expect("an answer")[0].is_some());
                }
                begun.elapsed()
            }));
        }
    }
    let [raw, blocking, awaited] = best.map(|time| time.as_secs_f64() * 1e6 / f64::from(hits));
    println!("raw {raw:.2} us, blocking {blocking:.2} ({:.2})", blocking / raw);
    println!("awaited {awaited:.2} ({:.2})", awaited / raw);
}

/// As above.
#[cfg(feature = "tokio")]
#[test]
#[ignore = "measures"]
fn awaited_calls_that_run_together_are_done_together() {
    let server = Server::start(&[]);
    let driver = Arc::new(Redis::new(standalone(server.port)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let get = |number: u32| {
        let deadline = Instant::now() + LONG;
        Arc::clone(&driver).get_async(vec![format!("k{number}")], deadline)
    };
    let mut best = [Duration::MAX; 2];
    for _ in 0..7 {
        runtime.block_on(async {
            let begun = Instant::now();
            for number in 0..6400 {
                get(number).await.expect("an answer");
            }
            best[0] = best[0].min(begun.elapsed());
            let begun = Instant::now();
            for round in 0..100 {
                let calls: Vec<_> = (0..64).map(|number| tokio::spawn(get(round * 64 + number))).collect();
                for call in calls {
                    call.await.expect("no panic").expect("an answer");
                }
            }
            best[1] = best[1].min(begun.elapsed());
        });
    }
    println!("64 at once: {:.1} times the throughput", best[0].as_secs_f64() / best[1].as_secs_f64());
}
