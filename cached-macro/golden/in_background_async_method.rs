impl Repo {
    #[cached(timeout = 60, refresh_ahead = "xfetch", key = (self.id, ids))]
    pub async fn load(&self, ids: &[&str]) -> Row {
        self.query(ids).await
    }
}
