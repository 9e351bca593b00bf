//! A cluster of three.

use std::cell::RefCell;
use std::process::Command;

use super::*;

pub(super) struct Cluster {
    pub(super) servers: Vec<Server>,
}

impl Cluster {
    pub(super) fn start(arguments: &[&str]) -> Self {
        let mut all = vec!["--cluster-enabled", "yes", "--cluster-node-timeout", "1000"];
        all.extend(arguments);
        let servers: Vec<Server> = (0..3).map(|_| Server::redis(&all)).collect();
        let mut create = Command::new("redis-cli");
        create.args(["--cluster", "create"]);
        create.args(servers.iter().map(|server| format!("127.0.0.1:{}", server.port())));
        let created = create.args(["--cluster-yes"]).output().expect("redis-cli is installed");
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stdout));
        let cluster = Self { servers };
        cluster.settle();
        cluster
    }

    /// Waits until all nodes agree.
    fn settle(&self) {
        for server in &self.servers {
            eventually(|| {
                let state = server.say(&["CLUSTER", "INFO"]);
                state.contains("cluster_state:ok") && state.contains("cluster_slots_ok:16384")
            });
        }
    }

    pub(super) fn config(&self) -> Config {
        config("redis+cluster", &[self.servers[0].port(), self.servers[1].port()])
    }

    fn id(&self, at: usize) -> String {
        self.servers[at].say(&["CLUSTER", "MYID"])
    }

    /// Of the server that has the key now.
    fn owner(&self, key: &str) -> usize {
        let has = |server: &Server| !server.say(&["GET", key]).contains("MOVED");
        self.servers
            .iter()
            .position(|server| server.try_say(&["PING"]).is_ok() && has(server))
            .expect("an owner")
    }

    fn slot(&self, key: &str) -> String {
        self.servers[0].say(&["CLUSTER", "KEYSLOT", key])
    }

    /// Begins to move a key's slot.
    fn begin_moving(&self, key: &str, from: usize, to: usize) {
        let slot = self.slot(key);
        self.servers[to].tell(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &self.id(from)]);
        self.servers[from].tell(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &self.id(to)]);
    }

    fn move_key(&self, key: &str, from: usize, to: usize) {
        let port = self.servers[to].port().to_string();
        self.servers[from].tell(&["MIGRATE", "127.0.0.1", &port, key, "0", "5000"]);
    }

    fn end_moving(&self, key: &str, to: usize) {
        let (slot, id) = (self.slot(key), self.id(to));
        let others = (0..self.servers.len()).filter(|&at| at != to);
        for at in std::iter::once(to).chain(others) {
            self.servers[at].tell(&["CLUSTER", "SETSLOT", &slot, "NODE", &id]);
        }
    }
}

#[test]
fn the_contract_holds() {
    let cluster = Cluster::start(&[]);
    each_way(&cluster.config(), |way| contract::holds(way, way.name));
    conforms(&cluster.config());
    for server in &cluster.servers {
        assert_ne!(server.say(&["DBSIZE"]), "0");
    }
}

#[test]
fn slots_may_move() {
    let cluster = Cluster::start(&[]);
    each_way(&cluster.config(), |way| {
        let key = &format!("moving:{}", way.name);
        way.put(key, b"1");
        let from = cluster.owner(key);
        let to = (from + 1) % 3;
        cluster.begin_moving(key, from, to);
        assert_eq!(way.value(key), b"1", "not yet moved");
        cluster.move_key(key, from, to);
        assert_eq!(way.value(key), b"1", "asked for elsewhere");
        let version = way.version(key);
        assert!(way.set(key, b"2", None, Expected::Version(version)).expect("an answer"));
        assert!(!way.set(key, b"3", None, Expected::Nothing).expect("an answer"));
        let others: Vec<String> = (0..50).map(|number| format!("other:{number}")).collect();
        let mut keys: Vec<&str> = others.iter().map(String::as_str).collect();
        keys.push(key);
        let found = way.get_all(&keys).expect("an answer").pop().expect("the last");
        assert_eq!(found.expect("a value").value, b"2");
        cluster.end_moving(key, to);
        let found = way.get_all(&keys).expect("an answer").pop().expect("the last");
        assert_eq!(found.expect("a value").value, b"2");
        assert_eq!(way.value(key), b"2", "moved");
        assert!(way.delete(key, Expected::Version(way.version(key))).expect("an answer"));
    });
}

#[test]
fn what_a_dead_node_has_cannot_be_had_and_all_else_can() {
    let cluster = RefCell::new(Cluster::start(&["--cluster-require-full-coverage", "no"]));
    let config = cluster.borrow().config();
    each_way(&config, |way| {
        let keys: Vec<String> = (0..30).map(|number| format!("k{number}")).collect();
        for key in &keys {
            way.put(key, key.as_bytes());
        }
        // One of those that are asked who has what.
        let dead = 0;
        let lost = |key: &&String| cluster.borrow().owner(key) == dead;
        let (lost, kept): (Vec<&String>, Vec<&String>) = keys.iter().partition(lost);
        assert!(!lost.is_empty() && !kept.is_empty());
        cluster.borrow_mut().servers[dead].kill();
        for _ in 0..2 {
            for key in &kept {
                assert_eq!(way.value(key), key.as_bytes(), "{}", way.name);
            }
            for key in &lost {
                let answer = way.get(key);
                assert!(is_unavailable(&answer), "{}: {answer:?}", way.name);
                assert!(is_unavailable(&way.set(key, b"x", None, Expected::Nothing)));
            }
        }
        let fresh = Way::blocking(&config);
        assert_eq!(fresh.value(kept[0]), kept[0].as_bytes(), "the other seed knows");
        cluster.borrow_mut().servers[dead].restart();
        cluster.borrow().settle();
        for key in &keys {
            way.put(key, b"again");
            assert_eq!(way.value(key), b"again", "{}", way.name);
        }
    });
}

#[test]
fn a_stopped_node_keeps_only_its_own_keys() {
    let cluster = Cluster::start(&["--cluster-require-full-coverage", "no"]);
    each_way(&cluster.config(), |way| {
        let keys: Vec<String> = (0..30).map(|number| format!("k{number}")).collect();
        for key in &keys {
            way.put(key, key.as_bytes());
        }
        let (lost, kept): (Vec<_>, Vec<_>) = keys.iter().partition(|key| cluster.owner(key) == 0);
        cluster.servers[0].pause();
        let hasty = way.within(Duration::from_millis(300));
        for key in lost.iter().take(2) {
            let answer = hasty.get(key);
            assert!(is_timed_out(&answer) || is_unavailable(&answer), "{}: {answer:?}", way.name);
        }
        for key in &kept {
            assert_eq!(way.value(key), key.as_bytes(), "{}", way.name);
        }
        cluster.servers[0].resume();
        cluster.settle();
        for key in &keys {
            assert_eq!(way.value(key), key.as_bytes(), "{}", way.name);
        }
    });
}

#[test]
fn a_replica_takes_over() {
    let cluster = RefCell::new(Cluster::start(&[]));
    let id = cluster.borrow().id(0);
    let replica = Server::redis(&["--cluster-enabled", "yes", "--cluster-node-timeout", "1000"]);
    replica.tell(&["CLUSTER", "MEET", "127.0.0.1", &cluster.borrow().servers[0].port().to_string()]);
    eventually(|| replica.say(&["CLUSTER", "REPLICATE", &id]) == "OK");
    eventually(|| replica.say(&["INFO", "replication"]).contains("master_link_status:up"));
    // Those who are to vote for it must know it.
    for server in &cluster.borrow().servers {
        let replica = format!("127.0.0.1:{}@", replica.port());
        let known = |line: &str| line.contains(&replica) && line.contains("slave");
        eventually(|| server.say(&["CLUSTER", "NODES"]).lines().any(known));
    }
    eventually(|| replica.say(&["CLUSTER", "INFO"]).contains("cluster_slots_ok:16384"));
    let config = cluster.borrow().config();
    let key = (0..1000)
        .map(|number| format!("k{number}"))
        .find(|key| cluster.borrow().owner(key) == 0)
        .expect("one of them");
    let way = Way::blocking(&config);
    way.put(&key, b"1");
    let awaited = Way::awaited(&config);
    assert_eq!(awaited.value(&key), b"1");
    eventually(|| replica.say(&["DBSIZE"]) == "1");
    cluster.borrow_mut().servers[0].kill();
    eventually(|| replica.say(&["INFO", "replication"]).contains("role:master"));
    eventually(|| matches!(way.get(&key), Ok(Some(found)) if found.value == b"1"));
    eventually(|| matches!(awaited.get(&key), Ok(Some(found)) if found.value == b"1"));
    way.put(&key, b"2");
    assert_eq!(way.value(&key), b"2");
}

#[test]
fn what_is_no_cluster_says_so() {
    let server = Server::redis(&[]);
    each_way(&config("redis+cluster", &[server.port()]), |way| {
        assert!(is_failed(&way.get("k")));
    });
    let mut empty = Server::redis(&["--cluster-enabled", "yes"]);
    each_way(&config("redis+cluster", &[empty.port()]), |way| {
        assert!(is_unavailable(&way.get("k")));
    });
    empty.kill();
    each_way(&config("redis+cluster", &[empty.port()]), |way| {
        assert!(is_unavailable(&way.get("k")));
    });
}
