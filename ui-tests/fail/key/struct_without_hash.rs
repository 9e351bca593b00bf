use cached_runtime::cached;

struct Query {
    text: String,
}

#[cached]
fn f(query: &Query) -> usize {
    query.text.len()
}

fn main() {}
