//! A master, its replica, and those who watch them.

use super::*;

/// One that watches a master under the name `main`.
pub(super) fn sentinel(master: u16, more: &str) -> Server {
    Server::sentinel(&format!(
        "sentinel monitor main 127.0.0.1 {master} 1\nsentinel down-after-milliseconds main 500\n\
         sentinel failover-timeout main 3000\n{more}"
    ))
}

pub(super) fn watches_a_replica(sentinel: &Server) -> bool {
    sentinel.say(&["SENTINEL", "MASTER", "main"]).contains("num-slaves\n1\n")
}

pub(super) fn through(sentinels: &[u16], master: &str) -> Config {
    Config { path: format!("/{master}"), ..config("redis+sentinel", sentinels) }
}

#[test]
fn the_contract_holds_and_a_replica_takes_over() {
    let mut master = Server::redis(&[]);
    let replica = Server::redis(&["--replicaof", "127.0.0.1", &master.port().to_string()]);
    eventually(|| replica.say(&["INFO", "replication"]).contains("master_link_status:up"));
    let sentinel = sentinel(master.port(), "");
    eventually(|| watches_a_replica(&sentinel));

    // The first of them is not there.
    let config = through(&[free_port(), sentinel.port()], "main");
    each_way(&config, |way| contract::holds(way, way.name));
    conforms(&config);
    let way = Way::blocking(&config);
    way.put("k", b"1");
    let awaited = Way::awaited(&config);
    assert_eq!(awaited.value("k"), b"1");
    eventually(|| replica.say(&["EXISTS", "k"]) == "1");

    master.kill();
    eventually(|| matches!(way.get("k"), Ok(Some(found)) if found.value == b"1"));
    eventually(|| matches!(awaited.get("k"), Ok(Some(found)) if found.value == b"1"));
    eventually(|| way.set("k", b"2", None, Expected::Anything).is_ok());
    assert_eq!(way.value("k"), b"2");

    // The old one is back, takes itself for the master, and has nothing.
    master.restart();
    assert_eq!(Way::blocking(&config).value("k"), b"2");
    assert_eq!(way.value("k"), b"2");
    way.put("k", b"3");
    assert_eq!(way.value("k"), b"3");
}

#[test]
fn a_master_that_was_made_a_replica_is_left() {
    let first = Server::redis(&[]);
    let second = Server::redis(&["--replicaof", "127.0.0.1", &first.port().to_string()]);
    eventually(|| second.say(&["INFO", "replication"]).contains("master_link_status:up"));
    let sentinel = sentinel(first.port(), "");
    eventually(|| watches_a_replica(&sentinel));
    let config = through(&[sentinel.port()], "main");
    let way = Way::blocking(&config);
    way.put("k", b"1");
    let awaited = Way::awaited(&config);
    assert_eq!(awaited.value("k"), b"1");
    eventually(|| sentinel.try_say(&["SENTINEL", "FAILOVER", "main"]).is_ok());
    eventually(|| first.say(&["INFO", "replication"]).contains("role:slave"));
    eventually(|| way.set("k", b"2", None, Expected::Anything).is_ok());
    assert_eq!(second.say(&["EXISTS", "k"]), "1");
    eventually(|| awaited.set("k", b"3", None, Expected::Anything).is_ok());
    assert_eq!(way.value("k"), b"3");
}

#[test]
fn sentinels_may_want_the_password_too() {
    let master = Server::redis(&["--requirepass", "right"]);
    let sentinel = sentinel(master.port(), "sentinel auth-pass main right\nrequirepass right\n");
    let config = Config { who: ":right@".into(), ..through(&[sentinel.port()], "main") };
    each_way(&config, |way| contract::holds(way, way.name));
}

#[test]
fn an_unknown_master_is_not_there() {
    let master = Server::redis(&[]);
    let sentinel = sentinel(master.port(), "");
    each_way(&through(&[sentinel.port()], "another"), |way| assert!(is_unavailable(&way.get("k"))));
    each_way(&through(&[free_port()], "main"), |way| assert!(is_unavailable(&way.get("k"))));
}
