//! What networks do, and what is answered then and afterwards.

use super::proxy::{Fault, Proxy};
use super::servers::Server;
use super::*;

/// Does it to a connection that is there, and to one that is to be made; and sees that all is well afterwards.
fn under(fault: Fault, is_expected: impl Fn(&Answer<Option<Found>>) -> bool) {
    let server = Server::start(&[]);
    let proxy = Proxy::to(server.port);
    let patient = Config { connect_timeout: Duration::from_millis(300), ..standalone(proxy.port) };
    each_way(&patient, |way| {
        way.put("a", b"of a");
        way.put("b", b"of b");
        let hasty = way.within(Duration::from_millis(200));
        for _ in 0..3 {
            proxy.set(fault);
            for way in [way, &hasty] {
                let way = if fault == Fault::Refusal { way } else { &hasty };
                let answer = way.get("a");
                assert!(is_expected(&answer), "{}: {answer:?}", way.name);
                let _ = way.get_all(&["a", "b"]);
                let _ = way.set("c", b"of c", None, Expected::Nothing);
            }
            proxy.set(Fault::None);
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
    under(Fault::Refusal, is_unavailable);
}

#[test]
fn silence_ends_at_the_deadline() {
    under(Fault::Silence, is_timed_out);
}

#[test]
fn a_slow_drip_ends_at_the_deadline() {
    under(Fault::Drip, is_timed_out);
}

#[test]
fn garbage_is_not_taken_for_a_reply() {
    under(Fault::Garbage, is_failed);
}

#[test]
fn half_a_reply_is_none() {
    under(Fault::Half, |answer| is_unavailable(answer) || is_failed(answer));
}

#[test]
fn half_a_reply_is_waited_for_till_the_deadline() {
    under(Fault::HalfThenSilence, is_timed_out);
}

#[test]
fn a_reply_too_many_is_not_taken_for_that_of_the_next() {
    under(Fault::Extra, |answer| {
        matches!(answer, Ok(Some(found)) if found.value == b"of a") || answer.is_err()
    });
}

#[test]
fn what_was_stored_though_its_reply_was_lost_counts_as_stored() {
    let server = Server::start(&[]);
    let proxy = Proxy::to(server.port);
    each_way(&standalone(proxy.port), |way| {
        way.put("warm", b"x");
        let key = &format!("lost:{}", way.name);
        proxy.set(Fault::LostReply);
        assert!(way.set(key, b"1", None, Expected::Nothing).expect("an answer"), "{}", way.name);
        assert_eq!(way.value(key), b"1");
        let version = way.version(key);
        // So that the server knows the script.
        assert!(!way.set(key, b"2", None, Expected::Version(Version(!version.0))).expect("an answer"));
        proxy.set(Fault::LostReply);
        assert!(way.set(key, b"2", None, Expected::Version(version)).expect("an answer"), "{}", way.name);
        assert_eq!(way.value(key), b"2");
    });
}

#[test]
fn nobody_gets_what_another_asked_for_while_calls_time_out() {
    let server = Server::start(&[]);
    let proxy = Proxy::to(server.port);
    let driver = Redis::new(standalone(proxy.port));
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
