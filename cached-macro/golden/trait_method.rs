impl<T: Source> Load for Vec<T> {
    #[cached(skip(self))]
    fn load<const N: usize>(&self, ids: [u64; N]) -> String {
        self.describe(ids)
    }
}
