impl Repo {
    #[cached(skip(self), handle = load_cache)]
    pub fn load(&self, id: u64) -> Row {
        self.query(id)
    }
}
