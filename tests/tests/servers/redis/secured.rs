//! Users, passwords, encryption.

use std::fmt::Debug;

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
