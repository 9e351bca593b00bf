use cached_runtime::cached;

trait Load {
    #[cached(skip(self), handle = load_cache)]
    fn load(&self, id: u64) -> u64 {
        id
    }
}

fn main() {}
