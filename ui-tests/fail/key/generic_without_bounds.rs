use cached_runtime::cached;

#[cached]
fn f<T: ToString>(value: T) -> String {
    value.to_string()
}

fn main() {}
