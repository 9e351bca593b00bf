use cached_runtime::cached;

struct Repo(u64);

impl Repo {
    #[cached(timeout = 60, stale_while_revalidate = 60, skip(self))]
    fn load(&self, id: u64) -> u64 {
        self.0 + id
    }
}

fn main() {
    Repo(1).load(1);
}
