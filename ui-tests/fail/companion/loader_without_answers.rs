use cached_runtime::cached;

#[cached(timeout = 60)]
fn double(id: u64) -> u64 {
    id * 2
}

fn main() {
    double::get_many(vec![1, 2], |ids| ids.iter().map(|id| id * 2).collect::<Vec<u64>>());
}
