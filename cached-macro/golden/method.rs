impl Repo {
    #[cached(timeout = "5m", skip(self))]
    fn load(&self, id: u64) -> Option<Row> {
        self.query(id)
    }
}
