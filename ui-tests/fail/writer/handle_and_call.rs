use cached_runtime::{cached, invalidates};

struct Repo;

impl Repo {
    #[cached(skip(self), handle = load_cache)]
    fn load(&self, id: u64) -> u64 {
        id
    }

    #[invalidates(self.load_cache(id).invalidate())]
    fn save(&self, id: u64) {
        drop(id.to_string());
    }
}

fn main() {}
