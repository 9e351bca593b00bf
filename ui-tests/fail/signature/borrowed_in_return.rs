use cached_runtime::cached;

use std::borrow::Cow;

#[cached]
fn f<'a>(text: &'a str) -> Result<Cow<'a, str>, String> {
    Ok(text.into())
}

fn main() {}
