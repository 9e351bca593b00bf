//! What a bench found: as a table for people, as JSON lines for programs.

use std::fmt::Write as _;
use std::io::{self, Write};

use crate::measure::LOOP;

/// What a bench found.
pub(crate) struct Findings {
    /// What the figures are, and how they came about.
    pub(crate) about: String,
    /// Those of one unit follow one another.
    pub(crate) rows: Vec<Row>,
    /// What follows from the rows, for people alone.
    pub(crate) footer: String,
}

/// A case, with the figure of each who was measured in it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) case: String,
    pub(crate) figures: Vec<(&'static str, f64)>,
    pub(crate) unit: Unit,
}

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    pub(crate) name: &'static str,
    decimals: usize,
    pub(crate) more_is_better: bool,
}

impl Unit {
    pub(crate) const NANOSECONDS: Self = Self::less("ns", 1);
    pub(crate) const MILLISECONDS: Self = Self::less("ms", 1);
    pub(crate) const SECONDS: Self = Self::less("s", 2);
    pub(crate) const BYTES: Self = Self::less("bytes", 0);
    pub(crate) const BYTES_PER_ENTRY: Self = Self::less("bytes per entry", 1);
    pub(crate) const CRATES: Self = Self::less("crates", 0);
    pub(crate) const HIT_RATIO: Self = Self::more("hit ratio", 4);
    pub(crate) const OF_OPTIMUM: Self = Self::more("of the optimum", 3);
    pub(crate) const HITS_PER_SECOND: Self = Self::more("hits/s", 0);

    const fn less(name: &'static str, decimals: usize) -> Self {
        Self { name, decimals, more_is_better: false }
    }

    const fn more(name: &'static str, decimals: usize) -> Self {
        Self { name, decimals, more_is_better: true }
    }

    pub(crate) fn text(self, figure: f64) -> String {
        number(Some(figure), self.decimals)
    }
}

impl Row {
    pub(crate) fn figure(&self, name: &str) -> Option<f64> {
        self.figures.iter().find(|(it, _)| *it == name).map(|(_, figure)| *figure)
    }

    /// The figures less that of the loop, which is no rival.
    pub(crate) fn compared(&self) -> impl Iterator<Item = (&'static str, f64)> {
        self.figures.iter().copied().filter(|(name, _)| *name != LOOP)
    }

    fn json(&self, bench: &str) -> String {
        let mut fields = vec![("bench", quoted(bench)), ("case", quoted(&self.case))];
        fields.extend(self.compared().map(|(name, figure)| (name, self.encoded(figure))));
        fields.push(("unit", quoted(self.unit.name)));
        let fields: Vec<_> = fields.iter().map(|(name, value)| format!("{}:{value}", quoted(name))).collect();
        format!("{{{}}}", fields.join(","))
    }

    /// With one more decimal than a person wants to see. JSON has no word for what is not finite.
    fn encoded(&self, figure: f64) -> String {
        if figure.is_finite() { number(Some(figure), self.unit.decimals + 1) } else { "null".to_owned() }
    }
}

/// The rows of each unit.
pub(crate) fn by_unit(rows: &[Row]) -> impl Iterator<Item = (Unit, &[Row])> {
    let groups = rows.chunk_by(|one, next| one.unit == next.unit);
    groups.filter_map(|group| Some((group.first()?.unit, group)))
}

/// One object a line.
pub(crate) fn print_json(bench: &str, findings: &Findings, out: &mut dyn Write) -> io::Result<()> {
    findings.rows.iter().try_for_each(|row| writeln!(out, "{}", row.json(bench)))
}

pub(crate) fn print_tables(bench: &str, findings: &Findings, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{bench}: {}", findings.about)?;
    for (unit, rows) in by_unit(&findings.rows) {
        write!(out, "\n{}", table(&cells(unit, rows)))?;
    }
    if !findings.footer.is_empty() {
        write!(out, "\n{}", findings.footer)?;
    }
    Ok(())
}

/// With how we compare to these, where there is something to win.
const RIVALS: [(&str, &str); 2] = [("quick_cache", "ours/quick_cache"), ("cached", "ours/cached")];

/// The rows of one unit below their headings.
fn cells(unit: Unit, rows: &[Row]) -> Vec<Vec<String>> {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in rows.iter().flat_map(|row| &row.figures) {
        if !names.contains(name) {
            names.push(name);
        }
    }
    names.sort_by_key(|name| *name == LOOP);
    let mut rivals = RIVALS.to_vec();
    rivals.retain(|(rival, _)| !unit.more_is_better && names.contains(rival));

    let case = format!("case ({})", unit.name);
    let ratios = rivals.iter().map(|(_, heading)| *heading);
    let headings = [case.as_str()].into_iter().chain(names.iter().copied()).chain(ratios);
    let headings = headings.map(str::to_owned).collect();
    let rows = rows.iter().map(|row| {
        let figures = names.iter().map(|name| number(row.figure(name), unit.decimals));
        let ratio = |rival| Some(row.figure("ours")? / row.figure(rival)?);
        let ratios = rivals.iter().map(|(rival, _)| number(ratio(rival), 2));
        [row.case.clone()].into_iter().chain(figures).chain(ratios).collect()
    });
    [headings].into_iter().chain(rows).collect()
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

    fn row(case: &str, unit: Unit, figures: &[(&'static str, f64)]) -> Row {
        Row { case: case.to_owned(), figures: figures.to_vec(), unit }
    }

    fn printed(print: fn(&str, &Findings, &mut dyn Write) -> io::Result<()>) -> String {
        let times = [("ours", 20.0), ("cached", 40.0), ("quick_cache", 10.0), (LOOP, 1.0)];
        let rows = vec![
            row("u64 1 thread", Unit::NANOSECONDS, &times),
            row("alone", Unit::NANOSECONDS, &[("ours", 4.0), ("sync", 3.95)]),
            row("web", Unit::HIT_RATIO, &[("ours", 0.5), ("quick_cache", 0.25)]),
        ];
        let findings = Findings { about: "ns per call".to_owned(), rows, footer: "the end\n".to_owned() };
        let mut out = Vec::new();
        print("hit", &findings, &mut out).expect("a vector takes all");
        String::from_utf8(out).expect("it is text")
    }

    #[test]
    fn there_is_a_table_for_each_unit_with_ratios_of_what_should_be_low() {
        let expected = "\
hit: ns per call

case (ns)     ours  cached  quick_cache  sync  loop  ours/quick_cache  ours/cached
u64 1 thread  20.0    40.0         10.0     -   1.0              2.00         0.50
alone          4.0       -            -   4.0     -                 -            -

case (hit ratio)    ours  quick_cache
web               0.5000       0.2500

the end
";
        assert_eq!(printed(print_tables), expected);
    }

    #[test]
    fn json_is_a_line_for_each_case_without_the_loop() {
        let expected = r#"
{"bench":"hit","case":"u64 1 thread","ours":20.00,"cached":40.00,"quick_cache":10.00,"unit":"ns"}
{"bench":"hit","case":"alone","ours":4.00,"sync":3.95,"unit":"ns"}
{"bench":"hit","case":"web","ours":0.50000,"quick_cache":0.25000,"unit":"hit ratio"}
"#;
        assert_eq!(printed(print_json), expected.trim_start());
    }

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
    fn json_has_no_word_for_what_is_not_a_number() {
        let row = row("a", Unit::CRATES, &[("ours", 1.5), ("peer", f64::NAN)]);
        assert_eq!(row.json("b"), r#"{"bench":"b","case":"a","ours":1.5,"peer":null,"unit":"crates"}"#);
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
}
