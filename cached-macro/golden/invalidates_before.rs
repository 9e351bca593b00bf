impl Repo {
    #[invalidates(before, self.load_cache(&name), Self::names_cache(), tag("name:{name}"))]
    async fn rename(&mut self, name: String) {
        self.write(name).await;
    }
}
