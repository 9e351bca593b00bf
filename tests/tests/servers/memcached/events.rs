//! What is heard of servers that go and come, and of lists of them.

use cached_runtime::Event;
use cached_tests::events::{heard, listen};
use cached_tests::eventually;

use super::*;

#[test]
fn a_server_is_heard_of_when_it_is_down_and_when_it_is_up_again() {
    watched(|| {
        listen();
        let mut servers = [Server::memcached(&[]), Server::memcached(&[])];
        let name = format!("127.0.0.1:{}", servers[0].port());
        let driver = Memcached::new(Config {
            connect_timeout: Duration::from_secs(5),
            retry_after: Duration::from_millis(1),
            ..Config::new(servers.iter().map(at).collect())
        });
        let ask_all = || (0..50).for_each(|n| _ = value(&driver, &format!("key:{n}")));
        ask_all();
        assert_eq!(heard(&name), []);
        servers[0].kill();
        (0..5).for_each(|_| ask_all());
        let events = heard(&name);
        let [Event::ServerDown { server, message }] = &*events else { panic!("{events:?}") };
        assert!(*server == name && message.contains("refused"), "{events:?}");
        servers[0].restart();
        eventually(|| {
            ask_all();
            heard(&name).len() > 1
        });
        (0..5).for_each(|_| ask_all());
        assert_eq!(heard(&name)[1..], [Event::ServerUp { server: name.clone() }]);
    });
}
