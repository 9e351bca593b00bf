use cached_runtime::cached;

#[derive(Clone, Hash, PartialEq, Eq)]
struct Query<'a> {
    text: &'a str,
}

#[cached]
fn f(query: Query<'_>) -> usize {
    query.text.len()
}

fn main() {}
