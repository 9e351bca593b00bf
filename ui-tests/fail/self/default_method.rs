use cached_runtime::cached;

trait Load {
    #[cached]
    fn load(&self, id: u64) -> u64 {
        id
    }
}

fn main() {}
