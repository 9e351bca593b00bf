use cached_runtime::cached;

#[cached(timeout = 60)]
fn price(item: u64, currency: &str) -> u64 {
    item + currency.len() as u64
}

fn main() {
    price::get_many(vec![(1, "EUR")], |_| |(item, _)| *item);
}
