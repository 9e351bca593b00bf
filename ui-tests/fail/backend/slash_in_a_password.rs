use cached_runtime::cached;

#[cached(backend = "redis://user:12/secret@127.0.0.1/0")]
fn f(id: u64) -> u64 {
    id
}

fn main() {}
