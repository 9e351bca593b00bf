use cached_runtime::cached;

use std::collections::HashMap;

#[cached]
fn f(map: HashMap<String, u64>) -> usize {
    map.len()
}

fn main() {}
