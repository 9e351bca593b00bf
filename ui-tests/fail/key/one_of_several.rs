use cached_runtime::cached;

#[cached]
async fn f(id: u64, ratio: Option<f64>, name: &str) -> usize {
    let _ = (id, ratio);
    name.len()
}

fn main() {}
