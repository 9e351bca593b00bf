use cached_runtime::cached;
use serde::Serialize;

#[derive(Clone, PartialEq, Eq, Hash, Serialize)]
struct Id(u64);

#[cached(save)]
fn f(id: &Id) -> u64 {
    id.0
}

fn main() {}
