//! What a bench found: as a table for people, as JSON lines for programs.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::measure::LOOP;

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
    pub(crate) const MICROSECONDS: Self = Self::less("µs", 2);
    pub(crate) const MILLISECONDS: Self = Self::less("ms", 2);
    pub(crate) const MILLISECONDS_OF_A_SECOND: Self = Self::less("CPU ms in 1 s", 3);
    pub(crate) const SECONDS: Self = Self::less("s", 2);
    pub(crate) const BYTES: Self = Self::less("bytes", 0);
    pub(crate) const BYTES_PER_ENTRY: Self = Self::less("bytes per entry", 1);
    pub(crate) const ALLOCATIONS: Self = Self::less("allocations", 3);
    pub(crate) const CRATES: Self = Self::less("crates", 0);
    pub(crate) const HIT_RATIO: Self = Self::more("hit ratio", 4);
    pub(crate) const HIT_RATIO_LESS: Self = Self::less("hit ratio less", 4);
    pub(crate) const OF_OPTIMUM: Self = Self::more("of the optimum", 3);
    pub(crate) const TIMES_AS_LONG: Self = Self::less("times as long", 2);
    pub(crate) const TIMES_THE_THROUGHPUT: Self = Self::more("x throughput", 2);
    pub(crate) const HITS_PER_SECOND: Self = Self::more("hits/s", 0);

    const ALL: [Self; 15] = [
        Self::NANOSECONDS,
        Self::MICROSECONDS,
        Self::MILLISECONDS,
        Self::MILLISECONDS_OF_A_SECOND,
        Self::SECONDS,
        Self::BYTES,
        Self::BYTES_PER_ENTRY,
        Self::ALLOCATIONS,
        Self::CRATES,
        Self::HIT_RATIO,
        Self::HIT_RATIO_LESS,
        Self::OF_OPTIMUM,
        Self::TIMES_AS_LONG,
        Self::TIMES_THE_THROUGHPUT,
        Self::HITS_PER_SECOND,
    ];

    const fn less(name: &'static str, decimals: usize) -> Self {
        Self { name, decimals, more_is_better: false }
    }

    const fn more(name: &'static str, decimals: usize) -> Self {
        Self { name, decimals, more_is_better: true }
    }

    pub(crate) fn text(self, figure: f64) -> String {
        number(Some(figure), self.decimals)
    }

    /// To one more decimal than a person wants to see.
    fn rounded(self, figure: f64) -> f64 {
        number(Some(figure), self.decimals + 1).parse().unwrap_or(figure)
    }
}

impl Row {
    pub(crate) fn new(
        case: impl Into<String>,
        unit: Unit,
        figures: impl IntoIterator<Item = (&'static str, f64)>,
    ) -> Self {
        Self { case: case.into(), figures: figures.into_iter().collect(), unit }
    }

    pub(crate) fn figure(&self, name: &str) -> Option<f64> {
        self.figures.iter().find(|(it, _)| *it == name).map(|(_, figure)| *figure)
    }

    /// The figures less that of the loop, which is no rival.
    pub(crate) fn compared(&self) -> impl Iterator<Item = (&'static str, f64)> {
        self.figures.iter().copied().filter(|(name, _)| *name != LOOP)
    }

    /// An object in one line, with what was measured on which machine if it is told. What is not finite is
    /// `null`, as JSON has no word for it.
    pub(crate) fn json(&self, bench: &str, environment: Option<&str>) -> String {
        let text = |text: &str| Value::from(text);
        let mut fields = vec![("bench", text(bench)), ("case", text(&self.case))];
        fields.extend(self.figures.iter().map(|(name, figure)| (*name, self.unit.rounded(*figure).into())));
        fields.push(("unit", text(self.unit.name)));
        fields.extend(environment.map(|environment| ("environment", text(environment))));
        let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value));
        Value::Object(fields.collect()).to_string()
    }

    /// What `json` has written.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let fields: Map<String, Value> = serde_json::from_str(line).ok()?;
        let text = |name| fields.get(name).and_then(Value::as_str);
        let figures = fields.iter().filter_map(|(name, value)| {
            let figure = value.as_f64().or(value.is_null().then_some(f64::NAN))?;
            // The process ends soon, and there are few names.
            Some((&*name.clone().leak(), figure))
        });
        let unit = Unit::ALL.into_iter().find(|unit| Some(unit.name) == text("unit"))?;
        Some(Self::new(text("case")?, unit, figures))
    }
}

/// The rows of each unit.
fn by_unit(rows: &[Row]) -> impl Iterator<Item = (Unit, &[Row])> {
    let groups = rows.chunk_by(|one, next| one.unit == next.unit);
    groups.filter_map(|group| Some((group.first()?.unit, group)))
}

/// A table for each unit.
pub(crate) fn tables(rows: &[Row]) -> String {
    let tables: Vec<_> = by_unit(rows).map(|(unit, rows)| table(&cells(unit, rows))).collect();
    tables.join("\n")
}

/// With how we compare to these, where there is something to win.
const RIVALS: [(&str, &str); 3] =
    [("quick_cache", "ours/quick_cache"), ("cached", "ours/cached"), ("raw", "ours/raw")];

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
        let ratio = |rival| Some(row.figure("ours")? / row.figure(rival)?).filter(|ratio| ratio.is_finite());
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

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Row> {
        let times = [("ours", 20.0), ("cached", 40.0), ("quick_cache", 10.0), (LOOP, 1.0)];
        vec![
            Row::new("u64 1 thread", Unit::NANOSECONDS, times),
            Row::new("alone", Unit::NANOSECONDS, [("ours", 4.0), ("sync", 3.95)]),
            Row::new("web \"07\"", Unit::HIT_RATIO, [("ours", 0.5), ("quick_cache", 1.0 / 3.0)]),
        ]
    }

    #[test]
    fn there_is_a_table_for_each_unit_with_ratios_of_what_should_be_low() {
        let expected = "\
case (ns)     ours  cached  quick_cache  sync  loop  ours/quick_cache  ours/cached
u64 1 thread  20.0    40.0         10.0     -   1.0              2.00         0.50
alone          4.0       -            -   4.0     -                 -            -

case (hit ratio)    ours  quick_cache
web \"07\"          0.5000       0.3333
";
        assert_eq!(tables(&rows()), expected);
    }

    #[test]
    fn json_is_a_line_for_each_case() {
        let lines: Vec<_> = rows().iter().map(|row| row.json("hit", None)).collect();
        let expected = [
            r#"{"bench":"hit","case":"u64 1 thread","ours":20.0,"cached":40.0,"quick_cache":10.0,"loop":1.0,"unit":"ns"}"#,
            r#"{"bench":"hit","case":"alone","ours":4.0,"sync":3.95,"unit":"ns"}"#,
            r#"{"bench":"hit","case":"web \"07\"","ours":0.5,"quick_cache":0.33333,"unit":"hit ratio"}"#,
        ];
        assert_eq!(lines, expected);
        let line = rows().pop().expect("there are some").json("hit", Some("a machine"));
        assert!(line.ends_with(r#","unit":"hit ratio","environment":"a machine"}"#), "{line}");
    }

    #[test]
    fn what_was_written_can_be_read() {
        for environment in [None, Some("a machine")] {
            let read = rows().iter().map(|row| Row::parse(&row.json("hit", environment))).collect::<Vec<_>>();
            let mut expected = rows();
            expected[2].figures[1].1 = 0.33333;
            assert_eq!(read, expected.into_iter().map(Some).collect::<Vec<_>>());
        }
        for unit in Unit::ALL {
            let row = Row::new("a", unit, [("ours", f64::NAN)]);
            let read = Row::parse(&row.json("b", None)).expect("it can be read");
            assert!(read.unit == unit && read.figures[0].1.is_nan());
        }
        assert_eq!(Row::parse("nothing"), None);
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
}
