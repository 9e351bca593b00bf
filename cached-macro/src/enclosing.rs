//! Whether a function stands in an impl or a trait.
//!
//! A function with `self`, or that mentions `Self`, does. Of any other the macro is shown no more than
//! the function itself, so that it looks at what stands around the attribute in its file. Where there
//! is no file to be read, the function is taken for a free one.

/// Whether the attribute that is being expanded stands directly in an impl or a trait.
pub(crate) fn is_in_impl() -> bool {
    if !proc_macro::is_available() {
        return false;
    }
    let here = proc_macro::Span::call_site();
    let text = here.local_file().and_then(|file| std::fs::read_to_string(file).ok());
    let before = text.as_deref().and_then(|text| before(text, here.line(), here.column()));
    before.is_some_and(ends_in_impl)
}

/// The text before a line and a column, both from 1, the column in characters.
fn before(text: &str, line: usize, column: usize) -> Option<&str> {
    let start = text.split_inclusive('\n').take(line.checked_sub(1)?).map(str::len).sum::<usize>();
    let within = text.get(start..)?.char_indices().nth(column.checked_sub(1)?)?.0;
    text.get(..start + within)
}

/// A delimiter that is open.
#[derive(Default)]
struct Open<'a> {
    /// Whether it is the brace of an impl or a trait.
    is_impl: bool,
    /// The word that says what the item is that is being read within.
    kind: Option<&'a str>,
}

fn ends_in_impl(text: &str) -> bool {
    const BEFORE_THE_KIND: [&str; 5] = ["pub", "unsafe", "default", "auto", "const"];
    let mut around = Vec::new();
    let mut innermost = Open::default();
    // Braces after one of these are an expression, such as a generic argument.
    let mut last = "";
    for token in (Tokens { rest: text }) {
        match token {
            "{" | "(" | "[" => {
                let is_impl = token == "{" && matches!(innermost.kind, Some("impl" | "trait"));
                let is_impl = is_impl && !["<", "="].contains(&last);
                around.push(std::mem::replace(&mut innermost, Open { is_impl, kind: None }));
            }
            "}" | ")" | "]" => {
                let was_impl = innermost.is_impl;
                innermost = around.pop().unwrap_or_default();
                if was_impl || (token == "}" && !matches!(innermost.kind, Some("impl" | "trait"))) {
                    innermost.kind = None;
                }
            }
            ";" => innermost.kind = None,
            word if innermost.kind.is_none() && is_word(word) && !BEFORE_THE_KIND.contains(&word) => {
                innermost.kind = Some(word);
            }
            _ => {}
        }
        last = token;
    }
    innermost.is_impl
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

    #[test]
    fn what_stands_around_a_function_is_found() {
        for (text, expected) in [
            ("", false),
            ("impl A {", true),
            ("pub unsafe trait B: C {", true),
            ("impl<T> A<T> for B where T: C {\n fn f() {}\n", true),
            ("#[derive(A)] impl B { const C: [u8; 1] = [1];", true),
            ("impl A {} fn f() {", false),
            ("impl A { fn f() {", false),
            ("fn f() -> impl A {", false),
            ("mod m { impl A {", true),
            ("impl A {} mod m {", false),
            ("macro_rules! m { ($t:ty) => { impl $t {", true),
            ("macro_rules! m { ($t:ty) => {", false),
            ("impl A<{ 1 }> for B {", true),
            ("impl A for B where C: D, {", true),
            ("struct A { b: u8 } impl A {", true),
            ("struct A; impl A { fn f() { let b = '{'; } }", false),
            ("// impl A {\n", false),
            ("/* impl A { /* */ */ mod m {", false),
            ("const A: &str = \"impl B {\\\" \";", false),
            ("const A: &str = r#\"impl B {\" \"#; impl C {", true),
            ("const A: char = '\\''; impl<'a> B<'a> {", true),
            ("fn r#impl() {", false),
        ] {
            assert_eq!(ends_in_impl(text), expected, "{text}");
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
