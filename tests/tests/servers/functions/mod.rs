//! Functions with a backend that is a server, whatever becomes of it.

mod bulk;
mod failures;
mod freshness;
mod load;
mod tags;

use cached_runtime::{Backend, BackendInfo, backends};
use cached_tests::servers::Server;

/// An engine that is a server.
#[derive(Clone, Copy)]
struct Engine {
    start: fn(&[&str]) -> Server,
    scheme: &'static str,
}

const MEMCACHED: Engine = Engine { start: Server::memcached, scheme: "memcached" };
const REDIS: Engine = Engine { start: Server::redis, scheme: "redis" };

impl Engine {
    fn start(self) -> Server {
        (self.start)(&[])
    }

    /// Of a server, or of a proxy in front of one.
    fn url(self, address: std::net::SocketAddr) -> String {
        format!("{}://{address}?connect_timeout=5s", self.scheme)
    }
}

/// A test for each engine, with statics and functions of its own.
macro_rules! on_each_engine {
    ($(#[$attribute:meta])* fn $name:ident($engine:ident) $body:block) => {
        mod $name {
            mod on_memcached {
                use super::super::*;

                $(#[$attribute])*
                #[test]
                fn it_holds() {
                    let $engine = MEMCACHED;
                    $body
                }
            }

            mod on_redis {
                use super::super::*;

                $(#[$attribute])*
                #[test]
                fn it_holds() {
                    let $engine = REDIS;
                    $body
                }
            }
        }
    };
}
use on_each_engine;

/// A backend whose URL is not known before the test has started its server.
macro_rules! backend {
    ($backend:ident, $url:ident) => {
        static $url: std::sync::OnceLock<String> = std::sync::OnceLock::new();
        static $backend: Backend = Backend::driver(concat!(module_path!(), line!()), || {
            cached_runtime::testing::driver($url.get().expect("the server is there before it is asked"))
        });
    };
}
use backend;

fn info(backend: &Backend) -> BackendInfo {
    let name = backend.to_string();
    backends().into_iter().find(|it| it.name == name).expect("it was used")
}
