use cached_runtime::cached;

#[derive(Clone, PartialEq, Eq, Hash)]
struct Id(u64);

#[cached(backend = "memory://")]
fn f(id: &Id) -> u64 {
    id.0
}

fn main() {}
