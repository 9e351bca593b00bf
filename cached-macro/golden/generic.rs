#[cached]
fn show<T, const N: usize>(thing: &T) -> String
where
    T: Key + Display,
{
    thing.to_string()
}
