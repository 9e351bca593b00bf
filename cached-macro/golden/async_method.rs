impl Repo {
    #[cached(key = (self.id, id))]
    async fn load(&self, id: u64) -> Row {
        self.query(id).await
    }
}
