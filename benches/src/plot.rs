//! Drawings: the figures as bars, in a panel for each case.

use std::fmt::Display;
use std::path::Path;
use std::{fs, io};

use plotters::backend::SVGBackend;
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::{Rectangle, Text};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{BLACK, Color, IntoFont, RGBColor, TextStyle, WHITE};

use crate::report::Row;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Where columns begin.
const COLUMNS: [i32; 2] = [0, WIDTH];
/// Of a column; and where in it names begin, bars begin, and the longest ends. The number comes after.
const WIDTH: i32 = 450;
const MARGIN: i32 = 16;
const LEFT: i32 = 142;
const RIGHT: i32 = 318;
/// Of the title.
const TOP: i32 = 40;
/// Of the title of a panel, of a bar, and below the bars.
const HEAD: i32 = 24;
const BAR: i32 = 16;
const GAP: i32 = 14;

/// A case, as it is called in a drawing.
struct Panel<'a> {
    title: String,
    row: &'a Row,
}

/// Writes `BENCH.svg`.
pub(crate) fn draw(bench: &str, about: &str, rows: &[Row], folder: &Path) -> io::Result<()> {
    let panels: Vec<_> = rows.iter().map(|row| Panel { title: row.case.clone(), row }).collect();
    write_chart(&format!("{bench}: {about}"), &panels, &folder.join(format!("{bench}.svg")))
}

/// What stands for all: the bench, how its case begins, and what that is.
const OVERVIEW: &[(&str, &str, &str)] = &[
    ("hit", "u64 1 thread", "a hit, 1,000 keys"),
    ("hit", "u64 2 threads", "the same on two threads"),
    ("hit", "1,000,000 keys 1 thread", "a hit, 1,000,000 keys"),
    ("hit", "str, bytes 1 thread", "a hit, (&str, &[u8])"),
    ("miss", "u64 1 thread", "a miss that evicts"),
    ("miss", "u64 2 threads", "the same on two threads"),
    ("memory", "u64 -> u64", "memory, u64 -> u64"),
    ("hit-ratio", "mean of all rows", "hit ratio, all traces"),
];

/// Writes `overview.svg`, from what the benches of these names have found.
pub(crate) fn overview(found: &[(&str, Vec<Row>)], folder: &Path) -> io::Result<()> {
    let panel = |(bench, case, title): &(&str, &str, &str)| {
        let (_, rows) = found.iter().find(|(name, _)| name == bench)?;
        let row = rows.iter().find(|row| row.case.starts_with(case))?;
        Some(Panel { title: (*title).to_owned(), row })
    };
    let panels: Vec<_> = OVERVIEW.iter().filter_map(panel).collect();
    write_chart("cached-runtime and its peers", &panels, &folder.join("overview.svg"))
}

fn write_chart(title: &str, panels: &[Panel<'_>], file: &Path) -> io::Result<()> {
    fs::create_dir_all(file.parent().unwrap_or(Path::new(".")))?;
    fs::write(file, chart(title, panels)?)
}

/// Each panel has a scale of its own, as what counts is how its bars compare.
fn chart(title: &str, panels: &[Panel<'_>]) -> io::Result<String> {
    let lines: Vec<_> = panels.chunks(COLUMNS.len()).collect();
    let heights: Vec<_> =
        lines.iter().map(|line| line.iter().map(Panel::height).max().unwrap_or(0)).collect();
    let size = [2 * WIDTH, TOP + heights.iter().sum::<i32>()].map(i32::unsigned_abs);
    let mut drawing = String::new();
    let area = SVGBackend::with_string(&mut drawing, size.into()).into_drawing_area();
    area.fill(&WHITE).map_err(failed)?;
    write(&area, title, (MARGIN, TOP / 2), 21.0, HPos::Left)?;
    let mut top = TOP;
    for (line, height) in lines.iter().zip(heights) {
        for (panel, left) in line.iter().zip(COLUMNS) {
            panel.draw(&area, (left, top))?;
        }
        top += height;
    }
    area.present().map_err(failed)?;
    drop(area);
    Ok(styled(&drawing))
}

/// What all texts have in common stands once, and colours follow the reader's.
fn styled(drawing: &str) -> String {
    const STYLE: &str = "<style>text{font-family:sans-serif;fill:#1f2328}\
        @media(prefers-color-scheme:dark){text{fill:#e6edf3}svg>rect:first-of-type{fill:#0d1117}}</style>";
    let mut drawing = drawing.replacen(">\n", &format!(">\n{STYLE}\n"), 1);
    for common in [" font-family=\"sans-serif\"", " opacity=\"1\"", " stroke=\"none\"", " fill=\"#000000\""] {
        drawing = drawing.replace(common, "");
    }
    drawing
}

impl Panel<'_> {
    fn height(&self) -> i32 {
        let bars = i32::try_from(self.row.compared().count()).unwrap_or_default();
        HEAD + bars * BAR + GAP
    }

    fn draw(&self, area: &Area<'_>, (left, top): (i32, i32)) -> io::Result<()> {
        let unit = self.row.unit;
        let better = if unit.more_is_better { "longer is better" } else { "shorter is better" };
        let title = format!("{} ({}, {better})", self.title, unit.name);
        write(area, &title, (left + MARGIN, top + HEAD / 2), 16.0, HPos::Left)?;
        let longest = self.row.compared().map(|(_, figure)| figure).fold(0.0, f64::max);
        for (at, (name, figure)) in (0..).zip(self.row.compared()) {
            let (above, below) = (top + HEAD + at * BAR, top + HEAD + (at + 1) * BAR - 3);
            let middle = i32::midpoint(above, below);
            let end = left + LEFT + length(figure, longest);
            let bar = Rectangle::new([(left + LEFT, above), (end, below)], color(name).filled());
            area.draw(&bar).map_err(failed)?;
            write(area, name, (left + LEFT - 8, middle), 15.0, HPos::Right)?;
            write(area, &self.label(name, figure), (end + 6, middle), 15.0, HPos::Left)?;
        }
        Ok(())
    }

    /// The figure, and of others how many times ours it is.
    fn label(&self, name: &str, figure: f64) -> String {
        let text = self.row.unit.text(figure);
        let ratio = self.row.figure("ours").map(|ours| figure / ours).filter(|ratio| ratio.is_finite());
        match ratio {
            Some(ratio) if name != "ours" => format!("{text} ({ratio:.2} x)"),
            _ => text,
        }
    }
}

/// Of a bar, when the longest one is for this figure.
fn length(figure: f64, longest: f64) -> i32 {
    let part = if longest > 0.0 { figure / longest } else { 0.0 };
    #[expect(clippy::cast_possible_truncation, reason = "to whole dots")]
    {
        (part * f64::from(RIGHT - LEFT)).round() as i32
    }
}

/// Ours stands out, and peers look the same in every drawing: both ways of asking the same one too.
fn color(name: &str) -> RGBColor {
    match name {
        "ours" => RGBColor(0, 114, 178),
        "cached" => RGBColor(204, 121, 167),
        "concurrent_cached" => RGBColor(220, 170, 200),
        name if name.starts_with("quick_cache") => RGBColor(230, 159, 0),
        name if name.starts_with("moka") => RGBColor(0, 158, 115),
        _ => RGBColor(150, 150, 150),
    }
}

fn write(area: &Area<'_>, text: &str, at: (i32, i32), size: f64, align: HPos) -> io::Result<()> {
    let style: TextStyle<'_> = ("sans-serif", size).into_font().color(&BLACK);
    area.draw(&Text::new(text, at, style.pos(Pos::new(align, VPos::Center)))).map_err(failed)
}

fn failed(error: impl Display) -> io::Error {
    io::Error::other(format!("the drawing failed: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Unit;

    #[test]
    fn a_bar_is_as_long_as_its_part_of_the_longest() {
        let whole = RIGHT - LEFT;
        for (figure, longest, expected) in
            [(4.0, 4.0, whole), (1.0, 2.0, whole / 2), (0.0, 2.0, 0), (0.0, 0.0, 0)]
        {
            assert_eq!(length(figure, longest), expected);
        }
        assert_eq!(length(f64::NAN, 1.0), 0);
    }

    #[test]
    fn a_drawing_names_cases_peers_and_figures() {
        let row =
            |case| Row::new(case, Unit::NANOSECONDS, [("ours", 7.04), ("quick_cache", 13.0), ("loop", 1.5)]);
        let rows = [row("one < two"), row("three"), row("four")];
        let panels: Vec<_> = rows.iter().map(|row| Panel { title: row.case.clone(), row }).collect();
        let drawing = chart("what it costs", &panels).expect("it can be drawn");
        for text in [
            "what it costs",
            "one &lt; two (ns, shorter is better)",
            "three",
            "four",
            "ours",
            "quick_cache",
            "7.0",
            "13.0 (1.85 x)",
            "prefers-color-scheme:dark",
        ] {
            assert!(drawing.contains(text), "{text} is missing:\n{drawing}");
        }
        assert!(!drawing.contains("loop"));
    }

    #[test]
    fn files_are_named_for_benches_and_one_shows_all() {
        let folder = std::env::temp_dir().join(format!("cached-benches-plot-{}", std::process::id()));
        let rows = vec![Row::new("u64 1 thread", Unit::NANOSECONDS, [("ours", 7.0)])];
        draw("miss", "what it costs", &rows, &folder).expect("it can be drawn");
        overview(&[("miss", rows)], &folder).expect("it can be drawn");
        let read = |name| fs::read_to_string(folder.join(name)).expect("it is there");
        assert!(read("miss.svg").contains("miss: what it costs"));
        assert!(read("overview.svg").contains("a miss that evicts"));
        fs::remove_dir_all(&folder).expect("it can be removed");
    }
}
