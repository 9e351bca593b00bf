use cached_runtime::cached;

#[derive(Clone)]
struct Word<'a>(&'a str);

#[cached]
fn f(text: &str) -> Word {
    Word(text)
}

fn main() {}
