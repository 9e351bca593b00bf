use cached_runtime::cached;

#[cached]
fn f(names: &[Option<&str>]) -> usize {
    names.len()
}

fn main() {}
