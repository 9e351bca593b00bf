use cached_runtime::{cached, invalidates, updates};

mod users {
    #[cached_runtime::cached(tags("user:{id}", format_args!("parity:{}", id % 2)))]
    pub fn get(id: u64) -> Result<String, ()> {
        Ok(id.to_string())
    }
}

#[cached]
fn list() -> Vec<u64> {
    vec![1]
}

#[updates(users::get(id), crate = ::cached_runtime)]
#[invalidates(before = true, list, tag("parity:{}", id % 2), crate = ::cached_runtime)]
fn save(id: u64, name: String) -> Option<String> {
    drop(list());
    Some(name)
}

fn main() {
    save(1, "a".to_owned());
    assert_eq!((users::get::peek(1), list::peek()), (Some(Ok("a".to_owned())), None));
}
