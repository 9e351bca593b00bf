//! Reporting: the table, the JSON lines, and what was measured on which machine.

use std::fmt::Write as _;
use std::process::Command;
use std::{fs, thread};

/// The machine, the compiler and the versions of these packages, in one line.
pub(crate) fn environment(packages: &[&str]) -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu_model(&cpuinfo).unwrap_or("unknown CPU");
    let cores = thread::available_parallelism().map_or_else(|_| "?".to_owned(), |cores| cores.to_string());
    let versions: Vec<_> = packages.iter().map(|package| version(LOCK, package)).collect();
    format!("{model}, {cores} cores; {}; {}", compiler(), versions.join(", "))
}

/// What this program was built from.
const LOCK: &str = include_str!("../../Cargo.lock");

fn cpu_model(cpuinfo: &str) -> Option<&str> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(':').map(|(_, model)| model.trim())
}

/// The compiler that runs by default here.
fn compiler() -> String {
    let output = Command::new("rustc").arg("--version").output().ok().filter(|it| it.status.success());
    let version = output.and_then(|output| String::from_utf8(output.stdout).ok());
    version.map_or_else(|| "rustc unknown".to_owned(), |version| version.trim().to_owned())
}

/// The package with its version in this lock file, with all of them if there are several.
fn version(lock: &str, package: &str) -> String {
    let packages = lock.split("[[package]]").filter(|text| value(text, "name") == Some(package));
    let versions: Vec<_> = packages.filter_map(|text| value(text, "version")).collect();
    if versions.is_empty() { format!("{package} ?") } else { format!("{package} {}", versions.join("/")) }
}

/// The value in the line `key = "value"`.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"'))
}

/// A number with so many decimals, or a dash where there is none.
pub(crate) fn number(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.decimals$}"))
}

/// Rows, the first of which holds the headings, in columns: the first to the left, the rest to the right.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            // Writing to a string does not fail.
            let _ = match column {
                0 => write!(line, "{cell:<width$}"),
                _ => write!(line, "  {cell:>width$}"),
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// The value of a field of a JSON object.
pub(crate) enum Json<'a> {
    Text(&'a str),
    Number(f64),
}

/// A JSON object in one line.
pub(crate) fn json(fields: &[(&str, Json<'_>)]) -> String {
    let fields: Vec<_> =
        fields.iter().map(|(name, value)| format!("{}:{}", quoted(name), value.encoded())).collect();
    format!("{{{}}}", fields.join(","))
}

impl Json<'_> {
    fn encoded(&self) -> String {
        match self {
            Self::Text(text) => quoted(text),
            Self::Number(number) if number.is_finite() => format!("{number:.2}"),
            // JSON has no word for the others.
            Self::Number(_) => "null".to_owned(),
        }
    }
}

fn quoted(text: &str) -> String {
    let mut quoted = "\"".to_owned();
    for char in text.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            control if control < ' ' => {
                // Writing to a string does not fail.
                let _ = write!(quoted, "\\u{:04x}", u32::from(control));
            }
            other => quoted.push(other),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["case", "ours", "peer"], ["é 1 thread", "7.1", "12.25"], ["b", "", "-"]];
        let rows = rows.map(|row| row.map(str::to_owned).to_vec());
        let expected = "\
case        ours   peer
é 1 thread   7.1  12.25
b                     -
";
        assert_eq!(table(&rows), expected);
        assert_eq!(table(&[]), "");
    }

    #[test]
    fn a_number_that_is_missing_is_a_dash() {
        assert_eq!(number(Some(2.449), 1), "2.4");
        assert_eq!(number(None, 1), "-");
    }

    #[test]
    fn json_escapes_what_it_must() {
        for (text, expected) in [
            ("u64 1 thread", r#""u64 1 thread""#),
            (r#"a "b" \c"#, r#""a \"b\" \\c""#),
            ("a\nb\u{1}", r#""a\u000ab\u0001""#),
            ("é", r#""é""#),
        ] {
            assert_eq!(quoted(text), expected);
        }
    }

    #[test]
    fn json_is_one_object() {
        let fields =
            [("case", Json::Text("a")), ("ours", Json::Number(1.5)), ("peer", Json::Number(f64::NAN))];
        assert_eq!(json(&fields), r#"{"case":"a","ours":1.50,"peer":null}"#);
        assert_eq!(json(&[]), "{}");
    }

    #[test]
    fn the_cpu_is_read_from_its_first_core() {
        assert_eq!(
            cpu_model("processor\t: 0\nmodel name\t: Fast CPU: 2\nmodel name\t: Other\n"),
            Some("Fast CPU: 2")
        );
        assert_eq!(cpu_model(""), None);
    }

    #[test]
    fn versions_are_those_of_the_lock_file() {
        let lock = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\n\n\
            [[package]]\nname = \"b\"\nversion = \"2.0.0\"\n\n[[package]]\nname = \"b\"\nversion = \"3.0.0\"\n";
        assert_eq!(version(lock, "a"), "a 1.0.0");
        assert_eq!(version(lock, "b"), "b 2.0.0/3.0.0");
        assert_eq!(version(lock, "c"), "c ?");
    }
}
