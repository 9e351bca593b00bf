impl Rates for Bank {
    #[cached(timeout = 60, skip(self), backend = "redis://127.0.0.1/0")]
    fn rate(&self, pair: Pair) -> Rate {
        self.ask(pair)
    }
}
