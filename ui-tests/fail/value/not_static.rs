use cached_runtime::cached;

#[cached]
fn f<T: Clone + Default + Send + Sync>(id: u64) -> T {
    let _ = id;
    T::default()
}

fn main() {}
