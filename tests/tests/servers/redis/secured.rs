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

    fn server(directory: &Path, port: u16) -> Server {
        let file = |name: &str| directory.join(name).to_str().expect("text").to_owned();
        let (port, key, certificate, ca) =
            (port.to_string(), file("server.key"), file("server.pem"), file("ca.pem"));
        Server::redis(&[
            "--tls-port",
            &port,
            "--tls-key-file",
            &key,
            "--tls-cert-file",
            &certificate,
            "--tls-ca-cert-file",
            &ca,
            "--tls-auth-clients",
            "no",
        ])
    }

    fn encrypted(port: u16, roots: Option<PathBuf>) -> Config {
        let ca = roots.map(|roots| format!("&ca={}", roots.display())).unwrap_or_default();
        let config = config("rediss", &[port]);
        Config { query: config.query + &ca, ..config }
    }

    #[test]
    fn the_contract_holds() {
        let (directory, port) = (Folder::new(), free_port());
        let ca = certificates(directory.path(), "IP:127.0.0.1");
        let server = server(directory.path(), port);
        conforms(&encrypted(port, Some(ca.clone())));
        each_way(&encrypted(port, Some(ca)), |way| {
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
    fn whoever_is_not_trusted_is_not_talked_to() {
        let (directory, port) = (Folder::new(), free_port());
        let ca = certificates(directory.path(), "DNS:elsewhere.example");
        let server = server(directory.path(), port);
        for (port, roots) in [
            // A name that is not in the certificate; an authority that is not the system's; none at all.
            (port, Some(ca.clone())),
            (port, None),
            (port, Some(directory.path().join("missing"))),
        ] {
            each_way(&encrypted(port, roots.clone()), |way| {
                let answer = way.get("k");
                assert!(is_unavailable(&answer), "{}: {answer:?}", way.name);
            });
        }
        // Who does not know encryption waits for more of a command, and who expects it for a handshake.
        for config in [encrypted(server.port(), Some(ca)), standalone(port)] {
            each_way(&config, |way| {
                let answer = way.within(Duration::from_millis(500)).get("k");
                assert!(answer.is_err(), "{}: {answer:?}", way.name);
            });
        }
    }
}
