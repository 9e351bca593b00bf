//! The second program, whose allocator counts.

use std::process::Command;

/// What it prints, if it succeeds.
fn count(arguments: &[&str]) -> Option<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_compare-memory")).args(arguments).output();
    let output = output.expect("it can be started");
    output.status.success().then(|| String::from_utf8(output.stdout).expect("it is text"))
}

#[test]
fn every_cache_takes_more_than_what_is_stored() {
    for (case, stored) in [("u64", 16.0), ("String", 120.0)] {
        for cache in ["ours", "cached", "concurrent_cached", "moka", "quick_cache"] {
            let bytes = count(&["entry", case, cache, "1000"]).expect("it is known");
            let bytes: f64 = bytes.trim().parse().expect("it is a number");
            assert!(bytes > stored && bytes.is_finite(), "{case} {cache}: {bytes}");
        }
    }
}

#[test]
fn allocations_are_counted_for_each_kind_of_hit() {
    let answer = count(&["hit"]).expect("it is known");
    let lines: Vec<_> = answer.lines().collect();
    for (line, kind) in lines.iter().zip(["u64", "str", "str, bytes", "async"]) {
        let start = format!(r#"{{"bench":"hit","case":"{kind}, per hit","ours":0.0,"#);
        assert!(line.starts_with(&start) && line.ends_with(r#""unit":"allocations"}"#), "{line}");
    }
    assert_eq!(lines.len(), 4);
    // An owned key for each lookup.
    assert!(lines[1].contains(r#""cached":1.0,"#), "{}", lines[1]);
}

#[test]
fn what_is_not_known_is_refused() {
    for arguments in [&[][..], &["hits"], &["entry", "u64", "nobody", "1"], &["entry", "u8", "ours", "1"]] {
        assert_eq!(count(arguments), None, "{arguments:?}");
    }
}
