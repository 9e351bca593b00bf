use cached_runtime::cached;

#[cached]
fn f<T: Default>(id: u64) -> T {
    let _ = id;
    T::default()
}

fn main() {}
