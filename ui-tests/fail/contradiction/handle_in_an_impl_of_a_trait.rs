use cached_runtime::cached;

trait Load {
    fn load(&self, id: u64) -> u64;
}

struct Repo;

impl Load for Repo {
    #[cached(skip(self), handle = load_cache)]
    fn load(&self, id: u64) -> u64 {
        id
    }
}

fn main() {
    Repo.load(1);
}
