//! Copies in processes, and what other processes change.

use cached_tests::processes::Process;
use cached_tests::{Runs, watched};

use super::cluster::Cluster;
use super::sentinel::{sentinel, through, watches_a_replica};
use super::*;

/// With so much time for each operation that none fails on a machine that is busy.
fn process(url: &str) -> Process {
    Process::start(env!("CARGO_BIN_EXE_process"), &format!("{url}&timeout=20s"))
}

fn url(server: &Server) -> String {
    standalone(server.port()).to_string()
}

/// One that hears what others change.
fn hearing(url: &str) -> Process {
    let process = process(url);
    hears(&process);
    process
}

fn hears(process: &Process) {
    // It listens once it needs to.
    let _ = process.call("copy", "any");
    eventually(|| process.ask("broadcast", "") == "true");
}

/// A value, which it has a copy of afterwards.
fn copied(process: &Process, text: &str) -> String {
    let value = process.call("copy", text);
    assert_eq!(process.call("copy", text), value);
    assert!(answered_by_copies(process, text), "{}", process.ask("events", ""));
    value
}

fn answered_by_copies(process: &Process, text: &str) -> bool {
    let before = process.ask("copies", "");
    let _ = process.call("copy", text);
    process.ask("copies", "") != before
}

/// Waits until a process has heard all that others told before.
fn has_heard(process: &Process, other: &Process) {
    static MARKS: Runs = Runs::new();
    let mark = format!("mark {}", MARKS.add());
    let _ = (copied(process, &mark), other.ask("put", &mark));
    eventually(|| process.call("copy", &mark) == other.value(&mark));
}

/// A number that the server has counted of a command.
fn count(server: &Server, command: &str, what: &str) -> u32 {
    let all = server.say(&["INFO", "commandstats"]);
    let line = all.lines().find(|line| line.starts_with(&format!("cmdstat_{command}:")));
    let numbers = line.and_then(|line| line.split_once(':')).map_or("", |(_, numbers)| numbers);
    let number = numbers.split(',').find_map(|it| it.strip_prefix(what)?.strip_prefix('='));
    number.map_or(0, |number| number.parse().expect("a number"))
}

/// What one process changes, the other sees, in each way that there is to change it.
pub(super) fn changes_are_seen(url: &str) {
    changes_are_seen_by(&hearing(url), &hearing(url));
}

fn changes_are_seen_by(one: &Process, other: &Process) {
    let fresh = |change| format!("key to {change}, {}", one.value(""));
    for change in ["put", "renew"] {
        let key = fresh(change);
        assert_eq!(copied(one, &key), one.value(&key));
        assert_eq!(copied(other, &key), one.value(&key));
        let _ = other.ask(change, &key);
        eventually(|| one.call("copy", &key) == other.value(&key));
        assert!(answered_by_copies(other, &key), "{change}");
    }
    for change in ["forget", "tag", "clear"] {
        let (key, another) = (fresh(change), "another");
        assert_eq!(copied(other, &key), other.value(&key));
        assert_eq!(copied(one, &key), other.value(&key));
        let _ = copied(one, another);
        let _ = other.ask(change, if change == "clear" { "" } else { &key });
        eventually(|| one.call("copy", &key) == one.value(&key));
        if change != "clear" {
            assert!(answered_by_copies(one, another));
        }
    }
}

#[test]
fn what_another_process_changes_is_seen() {
    watched(|| {
        let server = Server::redis(&[]);
        changes_are_seen(&url(&server));
    });
}

#[test]
fn it_is_seen_where_functions_are_awaited() {
    watched(|| {
        let server = Server::redis(&[]);
        let url = url(&server);
        let processes = [hearing(&url), hearing(&url)];
        for process in &processes {
            process.tell("awaits", "");
        }
        changes_are_seen_by(&processes[0], &processes[1]);
    });
}

#[cfg(unix)]
#[test]
fn it_is_seen_through_a_socket_by_users_who_may_not_do_more_and_in_another_database() {
    watched(|| {
        let server = Server::redis_on_a_socket(&[]);
        server.tell(&[
            "ACL",
            "SETUSER",
            "app",
            "on",
            ">right",
            "~cached:*",
            "&cached:broadcast",
            "+select",
            "+get",
            "+mget",
            "+getrange",
            "+set",
            "+del",
            "+eval",
            "+evalsha",
            "+publish",
            "+subscribe",
            "+ping",
        ]);
        let socket = server.socket();
        changes_are_seen(&format!("redis+unix://app:right@{}?database=3", socket.display()));
    });
}

#[test]
fn it_is_seen_in_a_cluster_whichever_node_is_heard() {
    watched(|| {
        let cluster = Cluster::start(&[]);
        // What is told of late is not what the next one listens to.
        for prefix in ["a", "b", "c"] {
            changes_are_seen(&format!("{}&prefix={prefix}", cluster.config()));
        }
    });
}

#[test]
fn it_is_seen_after_a_replica_has_taken_over() {
    watched(|| {
        let mut master = Server::redis(&[]);
        let replica = Server::redis(&["--replicaof", "127.0.0.1", &master.port().to_string()]);
        eventually(|| replica.say(&["INFO", "replication"]).contains("master_link_status:up"));
        let sentinel = sentinel(master.port(), "");
        eventually(|| watches_a_replica(&sentinel));
        let url = through(&[sentinel.port()], "main").to_string();
        let (one, other) = (hearing(&url), hearing(&url));
        let _ = copied(&one, "key");
        master.kill();
        eventually(|| one.ask("broadcast", "") == "false");
        assert!(!answered_by_copies(&one, "key"));
        for process in [&one, &other] {
            eventually(|| process.ask("broadcast", "") == "true");
        }
        eventually(|| {
            let _ = other.ask("put", "key");
            one.call("copy", "key") == other.value("key")
        });
    });
}

#[test]
fn of_what_is_changed_while_it_is_computed_no_copy_is_kept() {
    watched(|| {
        let server = Server::redis(&[]);
        let other = hearing(&url(&server));
        let known = server.say(&["KEYS", "cached:copied:*"]);
        other.tell("go", "");
        let _ = other.call("copy", "held");
        let keys = server.say(&["KEYS", "cached:copied:*"]);
        let entry = keys.lines().find(|key| !known.contains(key)).expect("a key").to_owned();
        for key in [&entry, "cached:copied:v0:generation"] {
            let one = hearing(&url(&server));
            server.tell(&["DEL", &entry]);
            one.tell("copy", "held");
            eventually(|| one.said("body").contains(&one.value("held")));
            server.tell(&["PUBLISH", "cached:broadcast", &format!("{} {key}", "1".repeat(32))]);
            has_heard(&one, &other);
            one.tell("go", "");
            eventually(|| one.said("got").contains(&one.value("held")));
            assert!(!answered_by_copies(&one, "held"), "{key}");
            assert!(answered_by_copies(&one, "held"));
        }
    });
}

#[test]
fn ones_own_changes_leave_ones_own_copies() {
    watched(|| {
        let server = Server::redis(&[]);
        let (one, other) = (hearing(&url(&server)), hearing(&url(&server)));
        for change in ["put", "renew"] {
            let _ = one.ask(change, "key");
            has_heard(&one, &other);
            assert!(answered_by_copies(&one, "key"), "{change}");
        }
        let _ = one.ask("forget", "key");
        let _ = one.call("copy", "key");
        has_heard(&one, &other);
        assert!(answered_by_copies(&one, "key"));
    });
}

#[test]
fn only_what_there_may_be_copies_of_is_told() {
    watched(|| {
        let server = Server::redis(&[]);
        let told = || count(&server, "publish", "calls");
        let one = process(&url(&server));
        let _ = one.call("call", "key");
        let _ = one.ask("invalidate", "key");
        let _ = one.call("call", "key");
        assert_eq!((told(), one.ask("broadcast", "")), (0, String::new()), "there are no copies of these");
        hears(&one);
        let before = told();
        let _ = (one.call("copy", "key"), one.call("copy", "key"), one.call("copy", "other"));
        assert_eq!(told(), before, "nothing was there");
        for change in ["put", "renew", "forget", "clear"] {
            let before = told();
            let _ = one.ask(change, "key");
            assert_eq!(told(), before + 1, "{change}");
        }
        let _ = one.call("copy", "key");
        assert_eq!(told(), before + 4, "what was forgotten is not there");
    });
}

#[test]
fn a_connection_that_is_lost_takes_all_copies_with_it_and_is_made_again() {
    watched(|| {
        let server = Server::redis(&[]);
        let (one, other) = (hearing(&url(&server)), hearing(&url(&server)));
        let _ = (copied(&one, "key"), copied(&one, "other"));
        server.tell(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        eventually(|| one.ask("events", "").lines().count() == 2);
        assert_eq!(one.ask("broadcast", ""), "true");
        assert!(!answered_by_copies(&one, "key") && !answered_by_copies(&one, "other"));
        eventually(|| other.ask("events", "").lines().count() == 2);
        let _ = other.ask("put", "key");
        eventually(|| one.call("copy", "key") == other.value("key"));
        let events = one.ask("events", "");
        let [lost, back] = *events.lines().collect::<Vec<_>>() else { panic!("{events}") };
        assert!(lost.contains("not heard") && back.contains("heard again"), "{events}");
    });
}

#[test]
fn what_was_missed_is_no_longer_served_once_the_connection_is_there_again() {
    watched(|| {
        let server = Server::redis(&[]);
        let (one, other) = (hearing(&url(&server)), hearing(&url(&server)));
        let old = copied(&one, "key");
        // Whoever has subscribed to what it may not is sent away.
        server.tell(&["ACL", "SETUSER", "default", "resetchannels"]);
        eventually(|| one.ask("broadcast", "") == "false");
        assert!(!answered_by_copies(&one, "key"));
        let _ = other.ask("put", "key");
        let _ = (other.ask("put", "key"), other.ask("clear", ""));
        let missed = copied(&one, "key");
        let _ = other.ask("put", "key");
        assert_eq!(one.call("copy", "key"), missed, "it is not heard, and the copy stays");
        server.tell(&["ACL", "SETUSER", "default", "allchannels"]);
        eventually(|| one.call("copy", "key") == other.value("key"));
        assert_eq!((one.ask("broadcast", ""), old), ("true".to_owned(), one.value("key")));
    });
}

#[test]
fn who_may_not_use_the_channel_is_told_once_and_has_a_cache_all_the_same() {
    watched(|| {
        let server = Server::redis(&[]);
        server.tell(&["ACL", "SETUSER", "app", "on", ">right", "~*", "resetchannels", "+@all"]);
        let url = Config { who: "app:right@".into(), ..standalone(server.port()) }.to_string();
        let (one, other) = (process(&url), process(&url));
        let _ = copied(&one, "key");
        assert_eq!(copied(&other, "key"), one.value("key"));
        eventually(|| one.ask("events", "").contains("NOPERM"));
        let tried = count(&server, "subscribe", "rejected_calls");
        // Both try it again, and have lost nothing.
        eventually(|| count(&server, "subscribe", "rejected_calls") >= tried + 3);
        assert!(answered_by_copies(&one, "key") && answered_by_copies(&other, "key"));
        for change in ["put", "renew", "forget", "clear"] {
            let _ = one.ask(change, "key");
        }
        assert_eq!(one.call("copy", "key"), one.value("key"));
        assert_eq!(other.call("copy", "key"), one.value("key"), "for its `local_timeout`");
        assert_eq!(
            (one.ask("broadcast", ""), one.ask("events", "").lines().count()),
            ("false".to_owned(), 1)
        );
    });
}

#[test]
fn what_others_publish_there_does_no_harm() {
    watched(|| {
        let server = Server::redis(&[]);
        let (one, other) = (hearing(&url(&server)), hearing(&url(&server)));
        let _ = copied(&one, "key");
        let hash = "0123456789abcdef".repeat(2);
        for message in [
            "",
            " ",
            "garbage",
            "\u{1}\r\n*3\r\n$7\r\nmessage\r\n",
            &"x".repeat(1 << 20),
            &format!("{hash} "),
            &format!("{hash} cached:copied:v0:"),
            &format!("{hash} cached:copied:v0:{hash}"),
            &format!("{hash} cached:copied:v0:{hash}0"),
            &format!("{hash} cached:elsewhere:v0:generation"),
            &format!("{hash} generation"),
        ] {
            server.tell(&["PUBLISH", "cached:broadcast", message]);
        }
        has_heard(&one, &other);
        assert!(answered_by_copies(&one, "key"));
        assert_eq!(one.ask("events", ""), "");
        server.tell(&["PUBLISH", "cached:broadcast", &format!("{hash} cached:copied:v0:generation")]);
        eventually(|| !answered_by_copies(&one, "key"));
    });
}

#[test]
fn it_can_be_turned_off() {
    watched(|| {
        let server = Server::redis(&[]);
        let (one, other) = (process(&format!("{}&broadcast=off", url(&server))), hearing(&url(&server)));
        let (mine, _) = (copied(&one, "key"), copied(&other, "key"));
        let _ = other.ask("put", "key");
        has_heard(&other, &hearing(&url(&server)));
        assert_eq!((one.call("copy", "key"), one.ask("broadcast", "")), (mine, String::new()));
        let _ = one.ask("put", "key");
        has_heard(&other, &hearing(&url(&server)));
        assert_eq!(other.call("copy", "key"), other.value("key"), "nor does it tell");
    });
}
