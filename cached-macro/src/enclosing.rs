//! What a function stands in.
//!
//! The macro is shown no more than the function itself, so that it looks at what stands around the
//! attribute in its file. That does not tell where there is no file to be read, nor within a macro.

use std::cell::RefCell;

/// What a function stands in directly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A module or a block.
    Outside,
    /// An impl of a type.
    Impl,
    /// A trait, or an impl of one.
    Trait,
}

thread_local! {
    /// What was read for the last attribute: the next one mostly stands further down in the same file, which
    /// need not be read from its start for each of them.
    static LAST: RefCell<Reading> = RefCell::default();
}

/// Where the attribute that is being expanded stands, if that can be seen.
pub(crate) fn place() -> Option<Place> {
    if !proc_macro::is_available() {
        return None;
    }
    let here = proc_macro::Span::call_site();
    let text = std::fs::read_to_string(here.local_file()?).ok()?;
    let reading = LAST.take().up_to(before(&text, here.line(), here.column())?)?;
    let place = reading.innermost.place;
    LAST.set(reading);
    place
}

/// The text before a line and a column, both from 1, the column in characters.
fn before(text: &str, line: usize, column: usize) -> Option<&str> {
    let start = text.split_inclusive('\n').take(line.checked_sub(1)?).map(str::len).sum::<usize>();
    let within = text.get(start..)?.char_indices().nth(column.checked_sub(1)?)?.0;
    text.get(..start + within)
}

/// A file that has been read up to some place between two tokens.
#[derive(Default)]
struct Reading {
    /// All that was read.
    text: String,
    /// The last token of it.
    last: String,
    innermost: Open,
    around: Vec<Open>,
}

/// A delimiter that is open, or the file.
struct Open {
    /// What its content stands in.
    place: Option<Place>,
    /// The item that is being read within.
    item: Option<Item>,
}

impl Default for Open {
    fn default() -> Self {
        Self { place: Some(Place::Outside), item: None }
    }
}

/// The start of an item.
struct Item {
    /// What stands in its braces, if it is an impl or a trait.
    place: Option<Place>,
    /// How many `<` are open; braces within them are an expression.
    angles: usize,
}

impl Item {
    /// An item that begins with this word.
    fn new(kind: &str) -> Self {
        let place = match kind {
            "trait" => Some(Place::Trait),
            "impl" => Some(Place::Impl),
            _ => None,
        };
        Self { place, angles: 0 }
    }

    fn read(&mut self, token: &str, last: &str) {
        match token {
            "<" => self.angles += 1,
            ">" => self.angles = self.angles.saturating_sub(1),
            // That of `dyn for<'a> Trait<'a>` and of `where for<'a> T: Trait<'a>` is another one.
            "for"
                if self.angles == 0
                    && self.place == Some(Place::Impl)
                    && (is_word(last) || [">", ")"].contains(&last))
                    && !["dyn", "where"].contains(&last) =>
            {
                self.place = Some(Place::Trait);
            }
            _ => {}
        }
    }
}

impl Reading {
    /// Reads on to the end of this text, or all of it if it is another one; nothing if its delimiters do not
    /// match.
    fn up_to(self, text: &str) -> Option<Self> {
        let mut reading = if text.starts_with(&self.text) { self } else { Self::default() };
        let unread = &text[reading.text.len()..];
        let before = std::mem::take(&mut reading.last);
        let mut last = before.as_str();
        for token in (Tokens { rest: unread }) {
            reading.read(token, last)?;
            last = token;
        }
        last.clone_into(&mut reading.last);
        reading.text.push_str(unread);
        Some(reading)
    }

    fn read(&mut self, token: &str, last: &str) -> Option<()> {
        const BEFORE_THE_KIND: [&str; 5] = ["pub", "unsafe", "default", "auto", "const"];
        let innermost = &mut self.innermost;
        match token {
            "{" | "(" | "[" => {
                let item = innermost.item.as_ref().filter(|item| token == "{" && item.angles == 0);
                let place = match item.and_then(|item| item.place) {
                    // What a macro makes of it cannot be seen.
                    None if ["!", "=>"].contains(&last) => None,
                    None => Some(Place::Outside),
                    place => place,
                };
                self.around.push(std::mem::replace(innermost, Open { place, item: None }));
            }
            "}" | ")" | "]" => {
                let was_body = matches!(innermost.place, Some(Place::Impl | Place::Trait));
                *innermost = self.around.pop()?;
                let is_header = innermost.item.as_ref().is_some_and(|item| item.place.is_some());
                if was_body || (token == "}" && !is_header) {
                    innermost.item = None;
                }
            }
            ";" => innermost.item = None,
            _ => match &mut innermost.item {
                Some(item) => item.read(token, last),
                None if is_word(token) && !BEFORE_THE_KIND.contains(&token) => {
                    innermost.item = Some(Item::new(token));
                }
                None => {}
            },
        }
        Some(())
    }
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// The words and marks of a Rust file, without its comments and literals.
struct Tokens<'a> {
    rest: &'a str,
}

impl<'a> Tokens<'a> {
    /// Takes so many bytes.
    fn take(&mut self, len: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at_checked(len).unwrap_or((self.rest, ""));
        self.rest = rest;
        taken
    }

    fn skip_past(&mut self, end: &str) {
        let len = self.rest.find(end).map_or(self.rest.len(), |at| at + end.len());
        self.take(len);
    }

    fn skip_block_comment(&mut self) {
        let mut depth = 0_usize;
        loop {
            if self.rest.starts_with("/*") {
                depth += 1;
                self.take(2);
            } else if self.rest.starts_with("*/") {
                depth -= 1;
                self.take(2);
            } else if let Some(other) = self.rest.chars().next() {
                self.take(other.len_utf8());
            } else {
                return;
            }
            if depth == 0 {
                return;
            }
        }
    }

    /// Past the quote that ends a literal, other than one after a backslash.
    fn skip_quoted(&mut self, quote: char) {
        let mut escaped = false;
        let end = self.rest.char_indices().find(|(_, c)| {
            let ends = *c == quote && !escaped;
            escaped = *c == '\\' && !escaped;
            ends
        });
        self.take(end.map_or(self.rest.len(), |(at, _)| at + 1));
    }

    /// Past a raw string, after its `r`; returns whether there was one.
    fn skip_raw(&mut self) -> bool {
        let hashes = self.rest.len() - self.rest.trim_start_matches('#').len();
        if !self.rest[hashes..].starts_with('"') {
            return false;
        }
        self.take(hashes + 1);
        self.skip_past(&format!("\"{}", "#".repeat(hashes)));
        true
    }

    /// Past a character, after its quote; a lifetime has no second one.
    fn skip_character(&mut self) {
        let mut characters = self.rest.chars();
        match (characters.next(), characters.next()) {
            (Some('\\'), _) => self.skip_quoted('\''),
            (Some(first), Some('\'')) => {
                self.take(first.len_utf8() + 1);
            }
            _ => {}
        }
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        loop {
            let first = self.rest.chars().next()?;
            if self.rest.starts_with("//") {
                self.skip_past("\n");
            } else if self.rest.starts_with("/*") {
                self.skip_block_comment();
            } else if is_word(self.rest) {
                let len = self.rest.find(|c: char| !c.is_alphanumeric() && c != '_');
                let word = self.take(len.unwrap_or(self.rest.len()));
                if !["r", "br", "cr"].contains(&word) || !self.skip_raw() {
                    return Some(word);
                }
            } else if ["->", "=>"].iter().any(|arrow| self.rest.starts_with(arrow)) {
                return Some(self.take(2));
            } else {
                let mark = self.take(first.len_utf8());
                match first {
                    '"' => self.skip_quoted('"'),
                    '\'' => self.skip_character(),
                    _ if first.is_whitespace() => {}
                    _ => return Some(mark),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place_after(text: &str) -> Option<Place> {
        Reading::default().up_to(text)?.innermost.place
    }

    /// The same for what is read in two parts, whichever these are.
    fn places_after_parts(text: &str) -> Vec<Option<Place>> {
        let mut tokens = Tokens { rest: text };
        let mut places = Vec::new();
        while tokens.next().is_some() {
            let (first, _) = text.split_at(text.len() - tokens.rest.len());
            places.push(Reading::default().up_to(first).and_then(|it| it.up_to(text)?.innermost.place));
        }
        places
    }

    #[test]
    fn what_stands_around_a_function_is_found() {
        let (outside, of_type, of_trait) = (Some(Place::Outside), Some(Place::Impl), Some(Place::Trait));
        for (text, expected) in [
            ("", outside),
            ("impl A {", of_type),
            ("pub unsafe trait B: C {", of_trait),
            ("impl<T> A<T> for B where T: C {\n fn f() {}\n", of_trait),
            ("#[derive(A)] impl B { const C: [u8; 1] = [1];", of_type),
            ("impl A {} fn f() {", outside),
            ("impl A { fn f() {", outside),
            ("fn f() -> impl A {", outside),
            ("mod m { impl A {", of_type),
            ("impl A {} mod m {", outside),
            ("macro_rules! m { ($t:ty) => { impl $t {", of_type),
            ("macro_rules! m { ($t:ty) => {", None),
            ("m! {", None),
            ("m! { impl A {", of_type),
            ("impl A<{ 1 }> for B {", of_trait),
            ("impl<T, const N: usize> A<T, { N }> {", of_type),
            ("impl<T, const N: usize> A<T, { N }>", outside),
            ("impl<F: Fn(u8) -> B> A<F, { 1 }> for C<[u8; { 2 }]> {", of_trait),
            ("impl A where B: for<'a> C<'a>, {", of_type),
            ("impl A where for<'a> B: C<'a> {", of_type),
            ("impl dyn for<'a> A<'a> {", of_type),
            ("impl<A, B> Fn(A) for B {", of_trait),
            ("impl A for B {} impl B {", of_type),
            ("impl A for B where C: D, {", of_trait),
            ("struct A { b: u8 } impl A {", of_type),
            ("struct A; impl A { fn f() { let b = '{'; } }", outside),
            ("// impl A {\n", outside),
            ("/* impl A { /* */ */ mod m {", outside),
            ("const A: &str = \"impl B {\\\" \";", outside),
            ("const A: &str = r#\"impl B {\" \"#; impl C {", of_type),
            ("const A: char = '\\''; impl<'a> B<'a> {", of_type),
            ("fn r#impl() {", outside),
            ("impl A { fn f() -> B<C> {", outside),
            ("} fn f() {", None),
        ] {
            assert_eq!(place_after(text), expected, "{text}");
            for place in places_after_parts(text) {
                assert_eq!(place, expected, "{text}, in two parts");
            }
        }
    }

    #[test]
    fn another_file_is_read_from_its_start() {
        for text in ["impl A for B { ", "fn f() {} ", "", "impl A {"] {
            let other = Reading::default().up_to("impl A { #[a] fn f() {} ").expect("it is read");
            assert_eq!(other.up_to(text).and_then(|it| it.innermost.place), place_after(text), "{text}");
        }
    }

    #[test]
    fn lines_and_columns_count_from_one_and_in_characters() {
        let text = "äb\nc ö d\n";
        for (line, column, expected) in
            [(1, 1, Some("")), (1, 2, Some("ä")), (2, 5, Some("äb\nc ö ")), (9, 1, None), (0, 0, None)]
        {
            assert_eq!(before(text, line, column), expected, "{line}:{column}");
        }
    }
}
