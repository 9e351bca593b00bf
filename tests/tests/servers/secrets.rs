//! Nothing that can be printed has the password of a backend's URL in it.
//!
//! The URL is in an environment variable; so each test is this program again, told one.

use std::process::Command;

use cached_runtime::{Backend, backends, cached, on_event};
use cached_tests::servers::{Server, free_port};
use cached_tests::watched;

/// As it is, and as it stands in a URL.
const SECRET: &str = "s3cr3t/w0rd";
const WRITTEN: &str = "s3cr3t%2Fw0rd";

static CACHE: Backend = Backend::env("CACHED_TEST_SECRET_CACHE", "null://");

#[cached(timeout = 300, backend = CACHE)]
fn double(n: u32) -> u32 {
    n * 2
}

#[cached(timeout = 300, backend = CACHE)]
async fn triple(n: u32) -> u32 {
    n * 3
}

/// Prints all that there is to print; does nothing unless another test has started it.
#[test]
fn as_a_process_of_its_own() {
    if std::env::var_os("CACHED_TEST_SECRET_CACHE").is_none() {
        return;
    }
    on_event(|event| println!("event: {event} {event:?}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for n in 0..8 {
        assert_eq!((double(n), double(n)), (n * 2, n * 2));
        assert_eq!(runtime.block_on(async { (triple(n).await, triple(n).await) }), (n * 3, n * 3));
    }
    println!("backend: {CACHE} {CACHE:?}");
    println!("backends: {:?} {:#?}", backends(), backends());
    let awaited = runtime.block_on(triple::stats());
    println!("hits: {}", double::stats().backend_hits + awaited.backend_hits);
}

fn printed_with(url: &str) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "secrets::as_a_process_of_its_own"])
        .env("CACHED_TEST_SECRET_CACHE", url)
        .output()
        .unwrap();
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8(printed).unwrap();
    assert!(output.status.success() && printed.contains("backends: ["), "{printed}");
    assert!(!printed.contains(SECRET) && !printed.contains(WRITTEN), "{printed}");
    printed
}

fn has_user(server: &Server, password: &str) {
    let command = format!("ACL SETUSER app on >{password} ~* +@all\r\n");
    assert_eq!(server.ask(command.as_bytes(), b"\r\n"), b"+OK\r\n");
}

#[test]
fn a_server_that_takes_the_password_hides_it() {
    watched(|| {
        let server = Server::redis(&[]);
        has_user(&server, SECRET);
        let printed = printed_with(&format!("redis://app:{WRITTEN}@127.0.0.1:{}", server.port()));
        assert!(printed.contains("hits: 16"), "{printed}");
        assert!(printed.contains("redis://app:***@127.0.0.1"), "{printed}");
    });
}

#[test]
fn a_server_that_refuses_the_password_hides_it() {
    watched(|| {
        let server = Server::redis(&[]);
        has_user(&server, "another");
        let printed = printed_with(&format!("redis://app:{WRITTEN}@127.0.0.1:{}", server.port()));
        assert!(printed.contains("event:") && printed.contains("WRONGPASS"), "{printed}");
    });
}

#[test]
fn a_server_that_is_not_there_hides_it() {
    watched(|| {
        for (scheme, end) in [("redis", ""), ("redis+cluster", ""), ("redis+sentinel", "/main")] {
            let printed = printed_with(&format!("{scheme}://app:{WRITTEN}@127.0.0.1:{}{end}", free_port()));
            assert!(printed.contains("is not asked for 1s"), "{printed}");
        }
    });
}

#[test]
fn a_url_that_is_wrong_hides_it() {
    for end in ["@127.0.0.1:port", "@127.0.0.1/name", "@127.0.0.1?what=7", "@", "%zz@127.0.0.1"] {
        let printed = printed_with(&format!("redis://app:{WRITTEN}{end}"));
        assert!(printed.contains("cannot be used"), "{printed}");
    }
    // What is before the `/` could be a host and its port.
    for scheme in ["redis", "redis+cluster", "redis+sentinel", "memcached"] {
        let printed = printed_with(&format!("{scheme}://app:12/{SECRET}@127.0.0.1/0"));
        assert!(printed.contains("cannot be used: an `@`"), "{printed}");
    }
}
