//! A master, its replica, and those who watch them.

use std::fs;
use std::process::{Child, Command, Stdio};

use super::servers::{Directory, Server, free_port};
use super::*;

struct Sentinel {
    port: u16,
    directory: Directory,
    child: Child,
}

impl Sentinel {
    fn start(master: u16, more: &str) -> Self {
        let (port, directory) = (free_port(), Directory::new());
        let file = directory.path().join("sentinel.conf");
        let text = format!(
            "port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {master} 1\n\
             sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 3000\n{more}"
        );
        fs::write(&file, text).expect("a file");
        let child = Command::new("redis-server")
            .arg(&file)
            .arg("--sentinel")
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        let sentinel = Self { port, directory, child };
        eventually("a sentinel", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        sentinel
    }

    fn watches_a_replica(&self) -> bool {
        let known = fs::read_to_string(self.directory.path().join("sentinel.conf")).expect("a file");
        known.contains("known-replica")
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn watched(sentinels: &[u16], master: &str) -> Config {
    config(Topology::Sentinel {
        sentinels: sentinels.iter().map(|&port| endpoint(port)).collect(),
        master: master.into(),
    })
}

#[test]
fn the_contract_holds_and_a_replica_takes_over() {
    let mut master = Server::start(&[]);
    let replica = Server::start(&["--replicaof", "127.0.0.1", &master.port.to_string()]);
    eventually("in step", || replica.say(&["INFO", "replication"]).contains("master_link_status:up"));
    let sentinel = Sentinel::start(master.port, "");
    eventually("watched", || sentinel.watches_a_replica());

    // The first of them is not there.
    let config = watched(&[free_port(), sentinel.port], "main");
    each_way(&config, |way| contract::holds(way, way.name));
    conforms(&config);
    let way = Way::blocking(&config);
    way.put("k", b"1");
    #[cfg(feature = "tokio")]
    let awaited = Way::awaited(&config);
    #[cfg(feature = "tokio")]
    assert_eq!(awaited.value("k"), b"1");
    eventually("copied", || replica.say(&["EXISTS", "k"]) == "1");

    master.kill();
    eventually("taken over", || matches!(way.get("k"), Ok(Some(found)) if found.value == b"1"));
    #[cfg(feature = "tokio")]
    eventually("taken over", || matches!(awaited.get("k"), Ok(Some(found)) if found.value == b"1"));
    eventually("writable", || way.set("k", b"2", None, Expected::Anything).is_ok());
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
    let first = Server::start(&[]);
    let second = Server::start(&["--replicaof", "127.0.0.1", &first.port.to_string()]);
    eventually("in step", || second.say(&["INFO", "replication"]).contains("master_link_status:up"));
    let sentinel = Sentinel::start(first.port, "");
    eventually("watched", || sentinel.watches_a_replica());
    let config = watched(&[sentinel.port], "main");
    let way = Way::blocking(&config);
    way.put("k", b"1");
    #[cfg(feature = "tokio")]
    let awaited = Way::awaited(&config);
    #[cfg(feature = "tokio")]
    assert_eq!(awaited.value("k"), b"1");
    let sentinel_client =
        redis::Client::open(format!("redis://127.0.0.1:{}", sentinel.port)).expect("a client");
    let mut connection = sentinel_client.get_connection().expect("a connection");
    eventually("begun", || redis::cmd("SENTINEL").arg("FAILOVER").arg("main").exec(&mut connection).is_ok());
    eventually("a replica", || first.say(&["INFO", "replication"]).contains("role:slave"));
    eventually("writable", || way.set("k", b"2", None, Expected::Anything).is_ok());
    assert_eq!(second.say(&["EXISTS", "k"]), "1");
    #[cfg(feature = "tokio")]
    {
        eventually("writable", || awaited.set("k", b"3", None, Expected::Anything).is_ok());
        assert_eq!(way.value("k"), b"3");
    }
}

#[test]
fn sentinels_may_want_the_password_too() {
    let master = Server::start(&["--requirepass", "right"]);
    let sentinel = Sentinel::start(master.port, "sentinel auth-pass main right\nrequirepass right\n");
    let config = Config { password: Some("right".into()), ..watched(&[sentinel.port], "main") };
    each_way(&config, |way| contract::holds(way, way.name));
}

#[test]
fn an_unknown_master_is_not_there() {
    let master = Server::start(&[]);
    let sentinel = Sentinel::start(master.port, "");
    each_way(&watched(&[sentinel.port], "another"), |way| assert!(is_unavailable(&way.get("k"))));
    each_way(&watched(&[free_port()], "main"), |way| assert!(is_unavailable(&way.get("k"))));
}
