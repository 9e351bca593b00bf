use cached_runtime::{cached, invalidates};

struct Repo;
impl Repo {
    #[cached(skip(self), handle = load_cache)]
    fn load(&self, id: u64) -> u64 {
        id
    }

    #[invalidates(self.load_cash(id))]
    fn save(&self, id: u64) {
        self.load(id);
    }
}

fn main() {}
