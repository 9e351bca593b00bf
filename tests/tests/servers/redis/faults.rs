//! What networks do, and what is answered then and afterwards.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use cached_tests::proxy::{Mode, Proxy};

use super::*;

/// Does it to a connection that is there, and to one that is to be made; and sees that all is well afterwards.
fn under(mode: Mode, is_expected: impl Fn(&Answer<Option<Found>>) -> bool) {
    let server = Server::redis(&[]);
    let proxy = Proxy::to(server.address());
    let patient = Config { query: "connect_timeout=300ms".into(), ..standalone(proxy.port()) };
    each_way(&patient, |way| {
        way.put("a", b"of a");
        way.put("b", b"of b");
        let hasty = way.within(Duration::from_millis(200));
        for _ in 0..3 {
            proxy.set(mode);
            for way in [way, &hasty] {
                let way = if mode == Mode::Refuse { way } else { &hasty };
                let answer = way.get("a");
                assert!(is_expected(&answer), "{}: {answer:?}", way.name);
                let _ = way.get_all(&["a", "b"]);
                let _ = way.set("c", b"of c", None, Expected::Nothing);
            }
            proxy.set(Mode::Pass);
            for _ in 0..3 {
                assert_eq!(way.value("a"), b"of a", "{}", way.name);
                assert_eq!(way.value("b"), b"of b");
                let both = way.get_all(&["b", "a"]).expect("an answer");
                let values: Vec<_> = both.into_iter().map(|found| found.expect("a value").value).collect();
                assert_eq!(values, [b"of b", b"of a"]);
            }
            way.put("b", b"of b");
        }
    });
}

#[test]
fn a_connection_that_is_closed_at_once_is_no_server() {
    under(Mode::Close, is_unavailable);
}

#[test]
fn a_connection_that_is_refused_is_no_server() {
    under(Mode::Refuse, is_unavailable);
}

#[test]
fn silence_ends_at_the_deadline() {
    under(Mode::Swallow, is_timed_out);
}

#[test]
fn a_slow_drip_ends_at_the_deadline() {
    under(Mode::Drip(Duration::from_millis(60)), is_timed_out);
}

#[test]
fn garbage_is_not_taken_for_a_reply() {
    under(Mode::Answer(b"HTTP/1.1 400 Bad Request\r\n\r\n"), is_failed);
}

#[test]
fn half_a_reply_is_none() {
    under(Mode::Half, |answer| is_unavailable(answer) || is_failed(answer));
}

#[test]
fn half_a_reply_is_waited_for_till_the_deadline() {
    under(Mode::HalfThenNothing, is_timed_out);
}

#[test]
fn a_reply_too_many_is_not_taken_for_that_of_the_next() {
    under(Mode::Extra(b"$9\r\nVERSION!z\r\n"), |answer| {
        matches!(answer, Ok(Some(found)) if found.value == b"of a") || answer.is_err()
    });
}

#[test]
fn what_was_stored_though_its_reply_was_lost_counts_as_stored() {
    let server = Server::redis(&[]);
    let proxy = Proxy::to(server.address());
    each_way(&standalone(proxy.port()), |way| {
        way.put("warm", b"x");
        let key = &format!("lost:{}", way.name);
        proxy.set(Mode::LoseOne);
        assert!(way.set(key, b"1", None, Expected::Nothing).expect("an answer"), "{}", way.name);
        assert_eq!(way.value(key), b"1");
        let version = way.version(key);
        // So that the server knows the script.
        assert!(!way.set(key, b"2", None, Expected::Version(Version(!version.0))).expect("an answer"));
        proxy.set(Mode::LoseOne);
        assert!(way.set(key, b"2", None, Expected::Version(version)).expect("an answer"), "{}", way.name);
        assert_eq!(way.value(key), b"2");
    });
}

#[test]
fn a_removal_whose_reply_was_lost_is_done_and_counts_as_none() {
    let server = Server::redis(&[]);
    let proxy = Proxy::to(server.address());
    each_way(&standalone(proxy.port()), |way| {
        // So that the server knows the script.
        assert!(!way.delete("k", Expected::Version(Version(1))).expect("an answer"));
        for with_version in [false, true] {
            way.put("k", b"x");
            let expected =
                if with_version { Expected::Version(way.version("k")) } else { Expected::Anything };
            proxy.set(Mode::LoseOne);
            // Asked again, the server has nothing to remove.
            assert!(!way.delete("k", expected).expect("an answer"), "{}: {expected:?}", way.name);
            assert_eq!(way.get("k").expect("an answer"), None);
        }
    });
}

#[test]
fn nobody_gets_what_another_asked_for_while_calls_time_out() {
    let server = Server::redis(&[]);
    let proxy = Proxy::to(server.address());
    let driver = open(&standalone(proxy.port()));
    let deadline = || Instant::now() + LONG;
    for number in 0..8 {
        let key = format!("k{number}");
        driver.set(&key, key.as_bytes(), None, Expected::Anything, deadline()).expect("an answer");
    }
    std::thread::scope(|scope| {
        for number in 0..8_u64 {
            let driver = &driver;
            scope.spawn(move || {
                let key = format!("k{number}");
                for turn in 0..300_u64 {
                    let time = Duration::from_micros((number * 37 + turn * 61) % 1500);
                    if let Ok(found) = driver.get(&[&key], Instant::now() + time) {
                        assert_eq!(found[0].as_ref().expect("a value").value, key.as_bytes());
                    }
                }
            });
        }
    });
    let found = driver.get(&["k3"], deadline()).expect("an answer").remove(0);
    assert_eq!(found.expect("a value").value, b"k3");
}

#[test]
fn a_server_that_is_killed_again_and_again_never_makes_for_a_wrong_answer() {
    let mut server = Server::redis(&[]);
    let driver = open(&standalone(server.port()));
    let is_over = AtomicBool::new(false);
    let (hits, failures) = (AtomicU64::new(0), AtomicU64::new(0));
    let note = |answer: Answer<Option<Found>>, key: &str| match answer {
        Ok(Some(found)) => {
            assert!(found.value.starts_with(key.as_bytes()));
            hits.fetch_add(1, Ordering::Relaxed);
        }
        Ok(None) => {}
        Err(DriverError::TimedOut | DriverError::Busy | DriverError::Unavailable(_)) => {
            failures.fetch_add(1, Ordering::Relaxed);
        }
        Err(error) => panic!("{error:?}"),
    };
    let work = |thread: u64| {
        let key = |turn: u64| format!("k{}:", (thread * 7 + turn) % 50);
        let mut turn = 0;
        while !is_over.load(Ordering::Relaxed) {
            let (key, deadline) = (key(turn), Instant::now() + Duration::from_millis(100));
            let value = format!("{key}{}", "x".repeat(usize::try_from(turn % 5000).expect("small")));
            let _ = driver.set(&key, value.as_bytes(), None, Expected::Anything, deadline);
            note(driver.get(&[&key], deadline).map(|mut all| all.remove(0)), &key);
            turn += 1;
        }
    };
    let awaited_work = || {
        let runtime = runtime();
        runtime.block_on(async {
            let mut turn = 0;
            while !is_over.load(Ordering::Relaxed) {
                let deadline = Instant::now() + Duration::from_millis(100);
                let keys: Vec<String> = (0..8).map(|number| format!("k{}:", (turn + number) % 50)).collect();
                let tasks = keys
                    .iter()
                    .map(|key| tokio::spawn(Arc::clone(&driver).get_async(vec![key.clone()], deadline)));
                let tasks: Vec<_> = tasks.collect();
                for (task, key) in tasks.into_iter().zip(&keys) {
                    note(task.await.expect("no panic").map(|mut all| all.remove(0)), key);
                }
                turn += 1;
            }
        });
    };
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let work = &work;
            scope.spawn(move || work(thread));
        }
        scope.spawn(awaited_work);
        for _ in 0..5 {
            let before = hits.load(Ordering::Relaxed);
            eventually(|| hits.load(Ordering::Relaxed) > before + 500);
            let before = failures.load(Ordering::Relaxed);
            server.kill();
            eventually(|| failures.load(Ordering::Relaxed) > before + 50);
            server.restart();
        }
        is_over.store(true, Ordering::Relaxed);
    });
}
#[test]
fn a_silent_connection_is_left_also_by_those_who_never_wait_till_the_deadline() {
    let server = Server::redis(&[]);
    let proxy = Proxy::to(server.address());
    let way = Way::awaited(&standalone(proxy.port()));
    way.put("k", b"x");
    assert_eq!(proxy.accepted(), 1);
    server.pause();
    let runtime = way.runtime.as_ref().expect("it is awaited");
    eventually(|| {
        runtime.block_on(async {
            let get = Arc::clone(&way.driver).get_async(vec!["k".into()], Instant::now() + LONG);
            let given_up = tokio::time::timeout(Duration::from_millis(20), get).await;
            assert!(given_up.is_err());
        });
        proxy.accepted() > 1
    });
    server.resume();
    assert_eq!(way.value("k"), b"x");
}
