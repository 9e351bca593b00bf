use cached_runtime::cached;

struct Repo {
    ratio: f64,
}

impl Repo {
    #[cached]
    fn load(self, id: u64) -> u64 {
        id * self.ratio as u64
    }
}

fn main() {}
