//! Users, passwords, encryption.

use std::fmt::Debug;
use std::sync::OnceLock;

use cached_runtime::{Backend, Event, backends, cached};
use cached_tests::Runs;
use cached_tests::events::{heard, listen};

use super::*;

const SECRET: &str = "s3cr3t-w0rd";

fn with_password(config: Config, user: Option<&str>, password: &str) -> Config {
    Config { who: format!("{}:{password}@", user.unwrap_or_default()), ..config }
}

/// An error, all that it says, and that a password is not in it.
fn said<T: Debug>(answer: Answer<T>) -> String {
    let error = answer.expect_err("an error");
    let mut said = format!("{error:?} {error}");
    let mut source = std::error::Error::source(&error);
    while let Some(error) = source {
        said = format!("{said} {error:?} {error}");
        source = error.source();
    }
    assert!(!said.contains(SECRET), "{said}");
    said
}

#[test]
fn a_password_is_needed_and_not_told() {
    let server = Server::redis(&["--requirepass", "right"]);
    each_way(&with_password(standalone(server.port()), None, "right"), |way| contract::holds(way, way.name));
    let wrong = with_password(standalone(server.port()), None, SECRET);
    each_way(&wrong, |way| {
        let answer = way.get("k");
        assert!(is_failed(&answer), "{answer:?}");
        assert!(said(answer).contains("WRONGPASS"));
    });
    each_way(&standalone(server.port()), |way| {
        let answer = way.get("k");
        assert!(is_failed(&answer), "{answer:?}");
        assert!(said(answer).contains("NOAUTH"));
    });
}

#[test]
fn users_may_do_what_they_may() {
    let server = Server::redis(&[]);
    server.tell(&["ACL", "SETUSER", "cache", "on", ">right", "~c:*", "+@all", "-@dangerous"]);
    server.tell(&["ACL", "SETUSER", "reader", "on", ">right", "~*", "+get"]);
    each_way(&with_password(standalone(server.port()), Some("cache"), "right"), |way| {
        contract::holds(way, &format!("c:{}", way.name));
        assert!(said(way.get("elsewhere")).contains("NOPERM"));
    });
    each_way(&with_password(standalone(server.port()), Some("reader"), "right"), |way| {
        assert_eq!(way.get("k").expect("an answer"), None);
        assert!(is_failed(&way.set("k", b"x", None, Expected::Anything)));
    });
    for user in ["cache", "nobody"] {
        each_way(&with_password(standalone(server.port()), Some(user), SECRET), |way| {
            assert!(said(way.get("k")).contains("WRONGPASS"));
        });
    }
}

/// What the documentation says that a user needs, but for scripts.
const PLAIN: [&str; 7] = ["resetkeys", "~cached:*", "+get", "+mget", "+set", "+del", "+getrange"];

/// A user who may do that and more.
fn allow(server: &Server, user: &str, more: &[&str]) -> Config {
    server.tell(&[&["ACL", "SETUSER", user, "on", ">right"], &PLAIN[..], more].concat());
    with_password(standalone(server.port()), Some(user), "right")
}

#[test]
fn the_commands_that_are_documented_are_enough() {
    let server = Server::redis(&[]);
    let config = allow(&server, "cache", &["+type", "+strlen", "+eval", "+evalsha", "+select"]);
    let config = Config { path: "/1".into(), ..config };
    each_way(&config, |way| contract::holds(way, &format!("cached:{}", way.name)));
}

#[test]
fn whoever_may_run_no_scripts_has_all_that_needs_none() {
    let server = Server::redis(&[]);
    for config in [
        allow(&server, "plain", &[]),
        // The server knows the script by no hash; or may not do for this user what is in it.
        allow(&server, "hash", &["+evalsha"]),
        allow(&server, "within", &["+evalsha", "+eval", "-getrange"]),
    ] {
        each_way(&config, |way| {
            let key = &*format!("cached:{}:{}", config.who, way.name);
            way.put(key, b"a");
            let version = way.version(key);
            let set = way.set(key, b"b", None, Expected::Version(version));
            assert!(matches!(set, Err(DriverError::Unsupported(_))), "{key}: {set:?}");
            let deleted = way.delete(key, Expected::Version(version));
            assert!(matches!(deleted, Err(DriverError::Unsupported(_))), "{key}: {deleted:?}");
            assert_eq!(way.value(key), b"a");
            assert!(way.delete(key, Expected::Anything).expect("an answer"));
            assert_eq!(way.get(key).expect("an answer"), None);
        });
    }
    each_way(&allow(&server, "plain", &[]), |way| {
        let key = &*format!("cached:{}", way.name);
        assert!(way.set(key, b"a", None, Expected::Nothing).expect("an answer"));
        assert!(!way.set(key, b"b", None, Expected::Nothing).expect("an answer"));
        assert_eq!(way.value(key), b"a");
    });
}

/// A backend of a user without scripts, on a server of its own.
macro_rules! without_scripts {
    ($backend:ident, $server:ident) => {
        static URL: OnceLock<String> = OnceLock::new();
        static $backend: Backend = Backend::driver(concat!(module_path!(), line!()), || {
            testing::driver(URL.get().expect("the server is there before it is asked"))
        });
        let $server = Server::redis(&[]);
        let config = Config { query: "timeout=10s".into(), ..allow(&$server, "plain", &[]) };
        URL.set(config.to_string()).expect("it is set once");
    };
}

/// What keys there are, but for generations.
fn entries(server: &Server) -> i32 {
    let has = |words: &[&str]| server.say(words).parse::<i32>().expect("a number");
    has(&["DBSIZE"]) - has(&["EXISTS", "cached:f:v0:generation"])
}

#[test]
fn a_function_of_a_user_without_scripts_has_no_leases_and_all_else() {
    static RUNS: Runs = Runs::new();
    without_scripts!(OWN, server);
    #[cached(timeout = "1h", lease = "1h", name = "f", backend = OWN)]
    fn f(n: u32) -> Result<u32, u32> {
        RUNS.add();
        if n < 10 { Ok(n) } else { Err(n) }
    }
    listen();
    let name = OWN.to_string();
    let info = || backends().into_iter().find(|it| it.name == name).expect("it was used");
    let one = testing::isolated().store();
    let other = testing::isolated().store();
    for process in [&one, &other] {
        let _entered = process.enter();
        // One that fails, before anything is known: its claim is not in anybody's way.
        assert_eq!((f(10), entries(&server)), (Err(10), 0));
        assert_eq!((f(1), f(1), f::stats().backend_hits), (Ok(1), Ok(1), 1));
        assert_eq!((f(10), entries(&server)), (Err(10), 1), "nothing is claimed any more");
        assert!(f::invalidate(1) && f::peek(1).is_none());
        assert_eq!((f(1), info().leases, f(2)), (Ok(1), Some(false), Ok(2)));
        let before = RUNS.get();
        f::clear();
        assert_eq!((f::peek(1), f(1), f(1), RUNS.get() - before), (None, Ok(1), Ok(1), 1));
        f::put(1, Ok(5));
        assert_eq!(f(1), Ok(5));
        f::clear();
        f::invalidate(1);
        f::invalidate(2);
        let stats = f::stats();
        assert_eq!((stats.backend_errors, stats.backend_skipped, entries(&server)), (0, 0, 0));
    }
    assert_eq!(info().failures, 0);
    assert_eq!(heard(&name), [Event::NoLeases { backend: name.clone() }], "and nothing else");
}

#[tokio::test]
async fn a_call_of_a_user_without_scripts_that_is_given_up_leaves_no_claim() {
    static RUNS: Runs = Runs::new();
    without_scripts!(OWN, server);
    #[cached(timeout = "1h", lease = "1h", name = "f", backend = OWN)]
    async fn f(n: u32) -> u32 {
        if RUNS.add() == 1 {
            std::future::pending::<()>().await;
        }
        n
    }
    let process = testing::isolated().store();
    let call = tokio::spawn(process.run(async { f(1).await }));
    while RUNS.get() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(entries(&server), 1, "the claim");
    call.abort();
    assert!(call.await.is_err());
    eventually(|| entries(&server) == 0);
    let called = process.run(async { (f(1).await, f(1).await, f::invalidate(1).await, f::peek(1).await) });
    assert_eq!(called.await, (1, 1, true, None));
    assert_eq!(RUNS.get(), 2);
}

#[test]
fn a_changed_password_is_used_after_the_connection_was_lost() {
    let server = Server::redis(&[]);
    let config = with_password(standalone(server.port()), Some("cache"), "right");
    server.tell(&["ACL", "SETUSER", "cache", "on", ">wrong", "~*", "+@all"]);
    each_way(&config, |way| {
        assert!(is_failed(&way.get("k")));
        server.tell(&["ACL", "SETUSER", "cache", ">right"]);
        assert_eq!(way.get("k").expect("an answer"), None);
        server.tell(&["ACL", "SETUSER", "cache", "<right"]);
        server.tell(&["CLIENT", "KILL", "USER", "cache"]);
    });
}

#[cfg(feature = "tls")]
mod tls {
    use std::path::{Path, PathBuf};
    use std::process::Command;

    use cached_tests::servers::Folder;

    use super::*;

    fn openssl(directory: &Path, arguments: &str) {
        let run = Command::new("openssl").current_dir(directory).args(arguments.split(' ')).output();
        let run = run.expect("openssl is installed");
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    }

    /// An authority's certificate, and one of it for a server of these names.
    fn certificates(directory: &Path, names: &str) -> PathBuf {
        std::fs::write(directory.join("names"), format!("subjectAltName={names}\n")).expect("a file");
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        openssl(
            directory,
            &format!("req -x509 {key} -keyout ca.key -out ca.pem -subj /CN=authority -days 2"),
        );
        openssl(directory, &format!("req {key} -keyout server.key -out server.csr -subj /CN=server"));
        openssl(
            directory,
            "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.pem",
        );
        directory.join("ca.pem")
    }

    /// What a server is told so that it takes encrypted connections on this port; of who connects it wants no
    /// certificate.
    fn options(directory: &Path, port: u16) -> [(&'static str, String); 5] {
        let file = |name: &str| directory.join(name).to_str().expect("text").to_owned();
        [
            ("tls-port", port.to_string()),
            ("tls-key-file", file("server.key")),
            ("tls-cert-file", file("server.pem")),
            ("tls-ca-cert-file", file("ca.pem")),
            ("tls-auth-clients", "no".into()),
        ]
    }

    fn server(directory: &Path, port: u16, more: &[&str]) -> Server {
        let options = options(directory, port).map(|(name, value)| [format!("--{name}"), value]).concat();
        let options = options.iter().map(String::as_str).chain(more.iter().copied());
        Server::redis(&options.collect::<Vec<_>>())
    }

    fn encrypted(config: Config, roots: Option<PathBuf>) -> Config {
        let ca = roots.map(|roots| format!("&ca={}", roots.display())).unwrap_or_default();
        Config { query: config.query + &ca, ..config }
    }

    fn rediss(port: u16, roots: Option<PathBuf>) -> Config {
        encrypted(config("rediss", &[port]), roots)
    }

    #[test]
    fn what_another_process_changes_is_seen() {
        let (directory, port) = (Folder::new(), free_port());
        let ca = certificates(directory.path(), "IP:127.0.0.1");
        let _server = server(directory.path(), port, &[]);
        broadcast::changes_are_seen(&rediss(port, Some(ca)).to_string());
    }

    #[test]
    fn the_contract_holds() {
        let (directory, port) = (Folder::new(), free_port());
        let ca = certificates(directory.path(), "IP:127.0.0.1");
        let server = server(directory.path(), port, &[]);
        conforms(&rediss(port, Some(ca.clone())));
        each_way(&rediss(port, Some(ca)), |way| {
            contract::holds(way, way.name);
            server.tell(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
            way.put("k", b"x");
            server.pause();
            assert!(is_timed_out(&way.within(Duration::from_millis(100)).get("k")));
            server.resume();
            assert_eq!(way.value("k"), b"x");
        });
    }

    #[test]
    fn the_contract_holds_on_a_cluster() {
        let (directory, ports) = (Folder::new(), [free_port(), free_port(), free_port()]);
        let ca = certificates(directory.path(), "IP:127.0.0.1");
        let options = ["--cluster-enabled", "yes", "--tls-cluster", "yes"];
        let servers = ports.map(|port| server(directory.path(), port, &options));
        let mut create = Command::new("redis-cli");
        create.arg("--tls").arg("--cacert").arg(&ca).args(["--cluster-yes", "--cluster", "create"]);
        let created = create.args(ports.map(|port| format!("127.0.0.1:{port}"))).output();
        let created = created.expect("redis-cli is installed");
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stdout));
        for server in &servers {
            eventually(|| server.say(&["CLUSTER", "INFO"]).contains("cluster_state:ok"));
        }
        let config = config("rediss+cluster", &ports[..2]);
        let trusting = encrypted(config.clone(), Some(ca));
        conforms(&trusting);
        each_way(&trusting, |way| contract::holds(way, way.name));
        for server in &servers {
            assert_ne!(server.say(&["DBSIZE"]), "0");
        }
        each_way(&config, |way| assert!(is_unavailable(&way.get("k")), "it is not trusted"));
    }

    #[test]
    fn the_contract_holds_behind_a_sentinel() {
        let (directory, port, sentinel_port) = (Folder::new(), free_port(), free_port());
        let ca = certificates(directory.path(), "IP:127.0.0.1");
        let master = server(directory.path(), port, &[]);
        let lines = options(directory.path(), sentinel_port).map(|(name, value)| format!("{name} {value}"));
        let monitor = format!("tls-replication yes\nsentinel monitor main 127.0.0.1 {port} 1");
        let _sentinel = Server::sentinel(&format!("{}\n{monitor}", lines.join("\n")));
        let config = Config { path: "/main".into(), ..config("rediss+sentinel", &[sentinel_port]) };
        conforms(&encrypted(config.clone(), Some(ca)));
        assert_ne!(master.say(&["DBSIZE"]), "0");
        each_way(&config, |way| assert!(is_unavailable(&way.get("k")), "it is not trusted"));
    }

    #[test]
    fn whoever_is_not_trusted_is_not_talked_to() {
        let (directory, port) = (Folder::new(), free_port());
        let ca = certificates(directory.path(), "DNS:elsewhere.example");
        let server = server(directory.path(), port, &[]);
        for (port, roots) in [
            // A name that is not in the certificate; an authority that is not the system's; none at all.
            (port, Some(ca.clone())),
            (port, None),
            (port, Some(directory.path().join("missing"))),
        ] {
            each_way(&rediss(port, roots.clone()), |way| {
                let answer = way.get("k");
                assert!(is_unavailable(&answer), "{}: {answer:?}", way.name);
            });
        }
        // Who does not know encryption waits for more of a command, and who expects it for a handshake.
        for config in [rediss(server.port(), Some(ca)), standalone(port)] {
            each_way(&config, |way| {
                let answer = way.within(Duration::from_millis(500)).get("k");
                assert!(answer.is_err(), "{}: {answer:?}", way.name);
            });
        }
    }
}
