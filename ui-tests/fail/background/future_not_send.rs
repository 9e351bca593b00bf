use cached_runtime::cached;
use std::rc::Rc;

#[cached(timeout = 60, stale_while_revalidate = 60)]
async fn f(id: u64) -> u64 {
    let id = Rc::new(id);
    std::future::ready(()).await;
    *id
}

fn main() {
    let _ = f(1);
}
