//! One server.

use super::*;

#[test]
fn the_contract_holds() {
    let server = Server::redis(&[]);
    each_way(&standalone(server.port()), |way| contract::holds(way, way.name));
    conforms(&standalone(server.port()));
}

#[test]
fn the_contract_holds_over_a_unix_socket() {
    let server = Server::redis_on_a_socket(&[]);
    let path = server.socket().to_str().expect("text").to_owned();
    let config = Config { path, ..config("redis+unix", &[]) };
    each_way(&config, |way| contract::holds(way, way.name));
    conforms(&config);
}

#[test]
fn a_script_is_sent_in_full_only_once() {
    let server = Server::redis(&[]);
    each_way(&standalone(server.port()), |way| {
        for _ in 0..5 {
            server.tell(&["HSET", "k", "f", "v"]);
            assert!(way.set("k", b"1", None, Expected::Nothing).expect("an answer"));
            assert!(way.set("k", b"2", None, Expected::Version(way.version("k"))).expect("an answer"));
            assert!(way.delete("k", Expected::Version(way.version("k"))).expect("an answer"));
        }
    });
    // There are three.
    let calls = server.say(&["INFO", "commandstats"]);
    assert!(calls.contains("cmdstat_eval:calls=3,"), "{calls}");
}

#[test]
fn a_server_that_forgot_its_scripts_is_given_them_again() {
    let server = Server::redis(&[]);
    each_way(&standalone(server.port()), |way| {
        way.put("k", b"1");
        for value in [b"2", b"3"] {
            server.tell(&["SCRIPT", "FLUSH"]);
            assert!(way.set("k", value, None, Expected::Version(way.version("k"))).expect("an answer"));
            assert_eq!(way.value("k"), value);
        }
    });
}

#[test]
fn the_shortest_time_is_not_for_ever_and_the_longest_is_not_short() {
    let server = Server::redis(&[]);
    each_way(&standalone(server.port()), |way| {
        let shortest = Some(Duration::from_nanos(1));
        for expected in [Expected::Anything, Expected::Nothing] {
            assert!(way.set("short", b"x", shortest, expected).expect("an answer"));
            eventually(|| way.get("short").expect("an answer").is_none());
        }
        way.put("short", b"x");
        assert!(
            way.set("short", b"y", shortest, Expected::Version(way.version("short"))).expect("an answer")
        );
        eventually(|| way.get("short").expect("an answer").is_none());

        for ttl in [Duration::from_secs(31 * 24 * 60 * 60), Duration::from_secs(u64::MAX), Duration::MAX] {
            assert!(way.set("long", b"x", Some(ttl), Expected::Anything).expect("an answer"));
            let left: u64 = server.say(&["PTTL", "long"]).parse().expect("a number");
            assert!(left > 30 * 24 * 60 * 60 * 1000, "{ttl:?}");
        }
        way.put("long", b"x");
        assert_eq!(server.say(&["PTTL", "long"]), "-1");
    });
}

#[test]
fn what_others_have_stored_is_not_there_and_gives_way() {
    let server = Server::redis(&[]);
    each_way(&standalone(server.port()), |way| {
        let foreign: [&[&str]; 4] =
            [&["HSET", "k", "f", "v"], &["RPUSH", "k", "v"], &["SET", "k", "short"], &["SADD", "k", "v"]];
        for words in foreign {
            let make = || {
                server.tell(&["DEL", "k"]);
                server.tell(words);
            };
            make();
            assert_eq!(way.get("k").expect("an answer"), None, "{words:?}");
            assert_eq!(way.get_all(&["k", "other"]).expect("an answer"), [None, None]);
            assert!(!way.set("k", b"x", None, Expected::Version(Version(1))).expect("an answer"));
            assert!(!way.delete("k", Expected::Version(Version(1))).expect("an answer"));
            assert!(way.set("k", b"x", Some(LONG), Expected::Nothing).expect("an answer"), "{words:?}");
            assert_eq!(way.value("k"), b"x");
            assert_ne!(server.say(&["PTTL", "k"]), "-1");
            make();
            way.put("k", b"y");
            assert_eq!(way.value("k"), b"y");
            make();
            assert!(way.delete("k", Expected::Anything).expect("an answer"));
        }
    });
}

#[test]
fn databases_are_apart() {
    let server = Server::redis(&[]);
    let there = Config { path: "/3".into(), ..standalone(server.port()) };
    each_way(&there, |way| {
        way.put("k", b"there");
        assert_eq!(Way::blocking(&standalone(server.port())).get("k").expect("an answer"), None);
        assert_eq!(way.value("k"), b"there");
    });
    each_way(&Config { path: "/1000".into(), ..standalone(server.port()) }, |way| {
        assert!(is_failed(&way.get("k")));
    });
}

#[test]
fn too_large_a_value_takes_the_place_of_none_and_is_not_sent_again() {
    let server = Server::redis(&["--proto-max-bulk-len", "1mb"]);
    // Each look is a connection too.
    let connections = || -> u32 {
        let stats = server.say(&["INFO", "stats"]);
        let count = stats.lines().find_map(|line| line.strip_prefix("total_connections_received:"));
        count.and_then(|count| count.trim().parse().ok()).expect("a number")
    };
    each_way(&standalone(server.port()), |way| {
        let is_too_large = |bytes: usize| {
            way.put("k", b"old");
            let answer = way.set("k", &vec![b'x'; bytes], None, Expected::Anything);
            assert!(matches!(answer, Err(DriverError::TooLarge)), "{}: {answer:?}", way.name);
            assert_eq!(way.get("k").expect("an answer"), None);
        };
        is_too_large(8 << 20);
        let before = connections();
        is_too_large(8 << 20);
        assert_eq!(connections(), before + 1, "{}: the server had to close none", way.name);
        is_too_large(1 << 20);
        assert!(connections() > before + 2);
        way.put("k", &vec![b'x'; (1 << 20) - 100]);
    });
}

#[test]
fn a_full_server_says_so() {
    let server = Server::redis(&["--maxmemory", "2mb", "--maxmemory-policy", "noeviction"]);
    each_way(&standalone(server.port()), |way| {
        let answer = (0..100)
            .map(|number| way.set(&format!("k{number}"), &vec![b'x'; 100_000], None, Expected::Anything));
        let answer: Answer<Vec<bool>> = answer.collect();
        assert!(is_failed(&answer), "{answer:?}");
        assert!(is_failed(&way.set("k", &vec![b'x'; 100_000], None, Expected::Nothing)));
        assert!(way.get("k").is_ok());
        server.tell(&["FLUSHALL"]);
        way.put("k", b"x");
    });
}

#[test]
fn a_server_that_cannot_serve_for_now_is_unavailable() {
    let mut master = Server::redis(&[]);
    let replica = Server::redis(&[
        "--replicaof",
        "127.0.0.1",
        &master.port().to_string(),
        "--replica-serve-stale-data",
        "no",
    ]);
    eventually(|| replica.say(&["INFO", "replication"]).contains("master_link_status:up"));
    each_way(&standalone(replica.port()), |way| {
        assert_eq!(way.get("k").expect("an answer"), None);
        for expected in [Expected::Anything, Expected::Nothing] {
            assert!(is_unavailable(&way.set("k", b"x", None, expected)), "{}: {expected:?}", way.name);
        }
    });
    master.kill();
    each_way(&standalone(replica.port()), |way| {
        eventually(|| is_unavailable(&way.get("k")));
    });
}

#[test]
fn a_server_that_runs_a_script_for_ever_is_unavailable() {
    let server = Server::redis(&["--lua-time-limit", "50"]);
    each_way(&standalone(server.port()), |way| {
        way.put("k", b"x");
        std::thread::scope(|scope| {
            scope.spawn(|| server.try_say(&["EVAL", "while true do end", "0"]).is_err());
            eventually(|| is_unavailable(&way.get("k")));
            assert!(is_unavailable(&way.get_all(&["k", "l"])));
            assert!(is_unavailable(&way.set("k", b"y", None, Expected::Nothing)));
            server.tell(&["SCRIPT", "KILL"]);
        });
        assert_eq!(way.value("k"), b"x");
    });
}

#[test]
fn a_server_that_has_clients_enough_is_unavailable() {
    let server = Server::redis(&["--maxclients", "1"]);
    each_way(&standalone(server.port()), |way| {
        let other = Way::blocking(&standalone(server.port()));
        eventually(|| other.get("k").is_ok());
        let answer = way.get("k");
        assert!(is_unavailable(&answer), "{}: {answer:?}", way.name);
        drop(other);
        eventually(|| way.get("k").is_ok());
    });
}

#[test]
fn threads_share_the_connections_that_a_server_allows() {
    for arguments in [&["--maxclients", "3"][..], &["--maxclients", "3", "--requirepass", "p"]] {
        let server = Server::redis(arguments);
        let who = if arguments.len() > 2 { ":p@" } else { "" };
        let driver = open(&Config { who: who.into(), ..standalone(server.port()) });
        let get = || driver.get(&["k"], Instant::now() + LONG);
        eventually(|| get().is_ok());
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| (0..20).for_each(|_| assert_eq!(get().expect("an answer"), [None])));
            }
        });
    }
}

#[test]
fn a_connection_that_takes_longer_than_an_operation_is_there_for_the_next() {
    let server = Server::redis(&[]);
    let config = Config { path: "/1".into(), ..standalone(server.port()) };
    each_way(&config, |way| {
        server.pause();
        assert!(is_timed_out(&way.within(Duration::from_millis(50)).get("k")), "{}", way.name);
        server.resume();
        eventually(|| way.get("k").is_ok());
    });
}

#[test]
fn a_server_that_is_not_there_yet_is_found_when_it_is() {
    let mut server = Server::redis(&[]);
    server.kill();
    let config = standalone(server.port());
    let ways = [Way::blocking(&config), Way::awaited(&config)];
    for way in &ways {
        assert!(is_unavailable(&way.get("k")), "{}", way.name);
        assert!(is_unavailable(&way.set("k", b"x", None, Expected::Anything)));
        assert!(is_unavailable(&way.delete("k", Expected::Anything)));
    }
    server.restart();
    for way in &ways {
        assert_eq!(way.get("k").expect("an answer"), None, "{}", way.name);
    }
}

#[test]
fn a_restart_is_not_noticed() {
    let mut server = Server::redis(&[]);
    let config = standalone(server.port());
    let server = std::cell::RefCell::new(&mut server);
    each_way(&config, |way| {
        for _ in 0..3 {
            way.put("k", b"1");
            server.borrow_mut().restart();
            assert_eq!(way.get("k").expect("an answer"), None);
            assert!(way.set("k", b"2", None, Expected::Nothing).expect("an answer"));
            assert_eq!(way.value("k"), b"2");
        }
        server.borrow_mut().kill();
        assert!(is_unavailable(&way.get("k")), "{}", way.name);
        server.borrow_mut().restart();
        assert_eq!(way.get("k").expect("an answer"), None);
    });
}

#[test]
fn idle_connections_that_the_server_closed_are_replaced() {
    let server = Server::redis(&[]);
    each_way(&standalone(server.port()), |way| {
        way.put("k", b"1");
        for expected in [Expected::Anything, Expected::Version(way.version("k"))] {
            server.tell(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
            assert!(way.set("k", b"2", None, expected).expect("an answer") || expected != Expected::Anything);
            assert_eq!(way.value("k"), b"2");
        }
    });
}

#[test]
fn a_stopped_server_is_waited_for_no_longer_than_allowed() {
    let server = Server::redis(&[]);
    each_way(&standalone(server.port()), |way| {
        way.put("k", b"before");
        server.pause();
        let hasty = way.within(Duration::from_millis(100));
        assert!(is_timed_out(&hasty.get("k")), "{}", way.name);
        assert!(is_timed_out(&hasty.get_all(&["k", "l"])));
        assert!(is_timed_out(&hasty.set("k", &vec![b'x'; 5 << 20], None, Expected::Anything)));
        assert!(is_timed_out(&hasty.set("l", b"late", None, Expected::Nothing)));
        assert!(is_timed_out(&hasty.delete("m", Expected::Anything)));
        server.resume();
        way.put("k", b"after");
        assert_eq!(way.value("k"), b"after");
    });
}

#[test]
fn what_is_past_its_deadline_is_not_begun() {
    let server = Server::redis(&[]);
    each_way(&standalone(server.port()), |way| {
        way.put("k", b"x");
        let late = way.within(Duration::ZERO);
        let answer = late.get("k");
        assert!(is_timed_out(&answer), "{}: {answer:?}", way.name);
        let answer = late.set("k", b"y", None, Expected::Anything);
        assert!(is_timed_out(&answer), "{}: {answer:?}", way.name);
        assert_eq!(way.value("k"), b"x");
    });
}

#[test]
fn very_many_threads_have_no_more_connections_than_allowed_and_get_their_own_answers() {
    let server = Server::redis(&[]);
    let driver = open(&standalone(server.port()));
    std::thread::scope(|scope| {
        for thread in 0..300 {
            let driver = &driver;
            scope.spawn(move || {
                for turn in 0..10 {
                    let (key, value) = (format!("k{thread}"), format!("{thread}:{turn}"));
                    let deadline = Instant::now() + LONG;
                    let stored = driver.set(&key, value.as_bytes(), None, Expected::Anything, deadline);
                    assert!(stored.expect("an answer"));
                    let found = driver.get(&[&key], deadline).expect("an answer").remove(0);
                    assert_eq!(found.expect("a value").value, value.as_bytes());
                }
            });
        }
    });
    let clients = server.say(&["CLIENT", "LIST"]);
    // And this one.
    assert!(clients.lines().count() <= 256 + 1, "{clients}");
}
#[test]
fn each_runtime_has_a_connection_of_its_own() {
    let server = Server::redis(&[]);
    let way = Way::awaited(&standalone(server.port()));
    way.put("k", b"x");
    for _ in 0..3 {
        // The runtime before has ended, or does not run.
        let other = way.within(LONG);
        assert_eq!(other.value("k"), b"x");
        assert_eq!(way.value("k"), b"x");
    }
}
#[test]
fn calls_share_a_connection_and_may_be_dropped() {
    let server = Server::redis(&[]);
    let runtime = runtime();
    let driver = open(&standalone(server.port()));
    let deadline = Instant::now() + LONG;
    runtime.block_on(async {
        let tasks: Vec<_> = (0..200)
            .map(|number| {
                let driver = Arc::clone(&driver);
                tokio::spawn(async move {
                    let (key, value) = (format!("k{number}"), format!("v{number}").into_bytes());
                    let set = Arc::clone(&driver).set_async(
                        key.clone(),
                        value.clone(),
                        None,
                        Expected::Anything,
                        deadline,
                    );
                    assert!(set.await.expect("an answer"));
                    let found = driver.get_async(vec![key], deadline).await.expect("an answer").remove(0);
                    assert_eq!(found.expect("a value").value, value);
                })
            })
            .collect();
        for (number, task) in tasks.into_iter().enumerate() {
            if number % 5 == 0 {
                task.abort();
                let _ = task.await;
            } else {
                task.await.expect("no panic");
            }
        }
    });
    assert!(server.say(&["CLIENT", "LIST"]).lines().count() <= 2);
}
#[test]
fn a_runtime_without_time_or_io_will_do() {
    use tokio::runtime::Builder;

    let server = Server::redis(&[]);
    let driver = open(&standalone(server.port()));
    for (time, io) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut builder = Builder::new_current_thread();
        if time {
            builder.enable_time();
        }
        if io {
            builder.enable_io();
        }
        let runtime = builder.build().expect("a runtime");
        let set = Arc::clone(&driver).set_async(
            "k".into(),
            b"x".into(),
            None,
            Expected::Anything,
            Instant::now() + LONG,
        );
        assert!(runtime.block_on(set).expect("an answer"));
    }
}
