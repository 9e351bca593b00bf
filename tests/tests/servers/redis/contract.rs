//! What any driver must do, whatever the servers are.

use super::*;

/// Every operation with everything that can be expected; the keys begin with the prefix.
pub(super) fn holds(way: &Way, prefix: &str) {
    let key = &format!("{prefix}:a");
    let ttl = Some(Duration::from_secs(60));

    assert_eq!(way.get(key).expect("an answer"), None);
    assert!(!way.delete(key, Expected::Anything).expect("an answer"));
    assert!(!way.set(key, b"x", ttl, Expected::Version(Version(7))).expect("an answer"));
    assert_eq!(way.get(key).expect("an answer"), None);

    assert!(way.set(key, b"1", ttl, Expected::Nothing).expect("an answer"));
    assert!(!way.set(key, b"2", ttl, Expected::Nothing).expect("an answer"));
    assert_eq!(way.value(key), b"1");
    let first = way.version(key);
    assert_eq!(way.version(key), first);

    assert!(way.set(key, b"1", None, Expected::Anything).expect("an answer"));
    let second = way.version(key);
    assert_ne!(first, second, "a version is of one value");

    assert!(!way.set(key, b"3", ttl, Expected::Version(first)).expect("an answer"));
    assert!(!way.delete(key, Expected::Version(first)).expect("an answer"));
    assert!(!way.delete(key, Expected::Nothing).expect("an answer"));
    assert_eq!(way.value(key), b"1");
    assert!(way.set(key, b"3", ttl, Expected::Version(second)).expect("an answer"));
    assert!(way.set(key, b"4", None, Expected::Version(way.version(key))).expect("an answer"));
    assert_eq!(way.value(key), b"4");

    assert!(way.delete(key, Expected::Version(way.version(key))).expect("an answer"));
    assert_eq!(way.get(key).expect("an answer"), None);
    way.put(key, b"5");
    assert!(way.delete(key, Expected::Anything).expect("an answer"));
    assert_eq!(way.get(key).expect("an answer"), None);

    any_bytes_come_back(way, prefix);
    many_keys_come_in_order(way, prefix);
}

fn any_bytes_come_back(way: &Way, prefix: &str) {
    let all: Vec<u8> = (0..=255).collect();
    let large = vec![b'\r'; 3 << 20];
    for (number, value) in [&all[..], b"\r\n", b"\0", b"$-1\r\n", &large].into_iter().enumerate() {
        let key = &format!("{prefix}:bytes:{number}");
        assert!(way.set(key, value, None, Expected::Nothing).expect("an answer"));
        assert!(way.value(key) == value);
        assert!(way.set(key, value, None, Expected::Version(way.version(key))).expect("an answer"));
        assert!(way.value(key) == value);
    }
}

fn many_keys_come_in_order(way: &Way, prefix: &str) {
    assert_eq!(way.get_all(&[]).expect("an answer"), []);
    let keys: Vec<String> = (0..100).map(|number| format!("{prefix}:many:{number}")).collect();
    for (number, key) in keys.iter().enumerate() {
        if number % 3 != 0 {
            way.put(key, key.as_bytes());
        }
    }
    let mut asked: Vec<&str> = keys.iter().map(String::as_str).collect();
    asked.push(asked[1]);
    let all = way.get_all(&asked).expect("an answer");
    assert_eq!(all.len(), asked.len());
    for (number, (found, key)) in all.iter().zip(&asked).enumerate() {
        let expected = (number % 3 != 0 || number == 100).then_some(key.as_bytes());
        assert_eq!(found.as_ref().map(|found| found.value.as_slice()), expected, "{key}");
    }
}
