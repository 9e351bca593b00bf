//! Drawings: the figures as bars, in a panel for each case.

use std::fmt::Display;
use std::path::Path;
use std::{fs, io};

use plotters::backend::SVGBackend;
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::{Rectangle, Text};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{BLACK, Color, FontStyle, IntoFont, RGBColor, TextStyle, WHITE};

use crate::machine;
use crate::report::Row;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Where columns begin.
const COLUMNS: [i32; 2] = [0, WIDTH];
/// Of a column; and where in it names begin, bars begin, and the longest ends. The number comes after.
const WIDTH: i32 = 450;
const MARGIN: i32 = 16;
const LEFT: i32 = 142;
const RIGHT: i32 = 318;
/// Of the title, and of the line about the machine.
const TOP: i32 = 44;
const BOTTOM: i32 = 28;
/// Of the title of a panel with the line below it, of a bar, and below the bars.
const HEAD: i32 = 40;
const BAR: i32 = 17;
const GAP: i32 = 16;

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
    ("hit", "u64 1 thread", "Hit, 1,000 keys"),
    ("hit", "u64 2 threads", "Hit, 1,000 keys, two threads"),
    ("hit", "1,000,000 keys 1 thread", "Hit, 1,000,000 keys"),
    ("hit", "str, bytes 1 thread", "Hit, arguments &str and &[u8]"),
    ("miss", "u64 1 thread", "Miss that evicts"),
    ("miss", "u64 2 threads", "Miss that evicts, two threads"),
    ("memory", "u64 -> u64", "Memory, u64 to u64"),
    ("hit-ratio", "mean of all rows", "Hit ratio, mean of all traces"),
    ("shared", "Redis hit, sync", "Hit on Redis"),
    ("shared", "Redis hit, async", "Hit on Redis, async"),
];

/// Writes `overview.svg`, from what the benches of these names have found.
pub(crate) fn overview(found: &[(&str, Vec<Row>)], folder: &Path) -> io::Result<()> {
    let panel = |(bench, case, title): &(&str, &str, &str)| {
        let (_, rows) = found.iter().find(|(name, _)| name == bench)?;
        let row = rows.iter().find(|row| row.case.starts_with(case))?;
        Some(Panel { title: (*title).to_owned(), row })
    };
    let panels: Vec<_> = OVERVIEW.iter().filter_map(panel).collect();
    write_chart("What cached-runtime costs beside its peers", &panels, &folder.join("overview.svg"))
}

fn write_chart(title: &str, panels: &[Panel<'_>], file: &Path) -> io::Result<()> {
    fs::create_dir_all(file.parent().unwrap_or(Path::new(".")))?;
    fs::write(file, chart(title, panels, &machine::environment())?)
}

/// Each panel has a scale of its own, as what counts is how its bars compare.
fn chart(title: &str, panels: &[Panel<'_>], machine: &str) -> io::Result<String> {
    let lines: Vec<_> = panels.chunks(COLUMNS.len()).collect();
    let heights: Vec<_> =
        lines.iter().map(|line| line.iter().map(Panel::height).max().unwrap_or(0)).collect();
    let height = TOP + heights.iter().sum::<i32>() + BOTTOM;
    let mut drawing = String::new();
    let size = [2 * WIDTH, height].map(i32::unsigned_abs);
    let area = SVGBackend::with_string(&mut drawing, size.into()).into_drawing_area();
    area.fill(&WHITE).map_err(failed)?;
    write(&area, title, (MARGIN, TOP / 2), &TITLE)?;
    let mut top = TOP;
    for (line, height) in lines.iter().zip(heights) {
        for (panel, left) in line.iter().zip(COLUMNS) {
            panel.draw(&area, (left, top))?;
        }
        top += height;
    }
    let note = format!("(x): times as much as ours. {machine}");
    write(&area, &note, (MARGIN, top + BOTTOM / 2 - 4), &Font { size: 12.0, ..MUTED })?;
    area.present().map_err(failed)?;
    drop(area);
    Ok(styled(&drawing))
}

/// What all texts have in common stands once, and colours follow the reader's.
fn styled(drawing: &str) -> String {
    const STYLE: &str = "<style>text{font-family:sans-serif;fill:#1f2328}.m{fill:#656d76}\
        @media(prefers-color-scheme:dark){text{fill:#e6edf3}.m{fill:#9198a1}svg>rect:first-of-type{fill:#0d1117}}</style>";
    let mut drawing = drawing.replacen(">\n", &format!(">\n{STYLE}\n"), 1);
    // A style is stronger than an attribute.
    drawing = drawing.replace(" fill=\"#808080\"", " class=\"m\"");
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

    /// The best first.
    fn bars(&self) -> Vec<(&'static str, f64)> {
        let mut bars: Vec<_> = self.row.compared().collect();
        // What is no number comes last.
        let badness = |figure: f64| if self.row.unit.more_is_better { -figure } else { figure };
        bars.sort_by(|(_, one), (_, other)| {
            one.is_nan().cmp(&other.is_nan()).then(badness(*one).total_cmp(&badness(*other)))
        });
        bars
    }

    fn draw(&self, area: &Area<'_>, (left, top): (i32, i32)) -> io::Result<()> {
        let unit = self.row.unit;
        let better = if unit.more_is_better { "longer is better" } else { "shorter is better" };
        write(area, &self.title, (left + MARGIN, top + HEAD / 4), &HEADING)?;
        write(area, &format!("{}, {better}", unit.name), (left + MARGIN, top + HEAD * 2 / 3), &MUTED)?;
        let bars = self.bars();
        let longest = bars.iter().map(|(_, figure)| *figure).fold(0.0, f64::max);
        for (at, (name, figure)) in (0..).zip(bars) {
            let (above, below) = (top + HEAD + at * BAR, top + HEAD + (at + 1) * BAR - 3);
            let middle = i32::midpoint(above, below);
            let end = left + LEFT + length(figure, longest);
            let bar = Rectangle::new([(left + LEFT, above), (end, below)], color(name).filled());
            area.draw(&bar).map_err(failed)?;
            let style = if name == "ours" { FontStyle::Bold } else { FontStyle::Normal };
            write(area, name, (left + LEFT - 8, middle), &Font { style, align: HPos::Right, ..PLAIN })?;
            write(area, &self.label(name, figure), (end + 6, middle), &Font { style, ..PLAIN })?;
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

/// Ours stands out on a light background and a dark one.
fn color(name: &str) -> RGBColor {
    if name == "ours" { RGBColor(9, 105, 218) } else { RGBColor(150, 160, 170) }
}

/// How a text looks, and which end of it is at its place.
struct Font {
    size: f64,
    style: FontStyle,
    color: RGBColor,
    align: HPos,
}

const PLAIN: Font = Font { size: 14.0, style: FontStyle::Normal, color: BLACK, align: HPos::Left };
const HEADING: Font = Font { size: 15.0, style: FontStyle::Bold, ..PLAIN };
const TITLE: Font = Font { size: 20.0, style: FontStyle::Bold, ..PLAIN };
/// As `styled` knows it.
const MUTED: Font = Font { size: 13.0, color: RGBColor(128, 128, 128), ..PLAIN };

fn write(area: &Area<'_>, text: &str, at: (i32, i32), font: &Font) -> io::Result<()> {
    let style: TextStyle<'_> = ("sans-serif", font.size, font.style).into_font().color(&font.color);
    area.draw(&Text::new(text, at, style.pos(Pos::new(font.align, VPos::Center)))).map_err(failed)
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
        let drawing = chart("what it costs", &panels, "on a fast machine").expect("it can be drawn");
        for text in [
            "what it costs",
            "one &lt; two",
            "ns, shorter is better",
            "three",
            "four",
            "ours",
            "quick_cache",
            "7.0",
            "13.0 (1.85 x)",
            "prefers-color-scheme:dark",
            "on a fast machine",
        ] {
            assert!(drawing.contains(text), "{text} is missing:\n{drawing}");
        }
        assert!(!drawing.contains("loop"));
    }

    #[test]
    fn the_best_bar_is_the_first() {
        let names = |unit| {
            let row = Row::new("a", unit, [("ours", 7.0), ("moka", f64::NAN), ("cached", 9.0), ("lru", 5.0)]);
            let bars = Panel { title: String::new(), row: &row }.bars();
            bars.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert_eq!(names(Unit::NANOSECONDS), ["lru", "ours", "cached", "moka"]);
        assert_eq!(names(Unit::HIT_RATIO), ["cached", "ours", "lru", "moka"]);
    }

    #[test]
    fn files_are_named_for_benches_and_one_shows_all() {
        let folder = std::env::temp_dir().join(format!("cached-benches-plot-{}", std::process::id()));
        let rows = vec![Row::new("u64 1 thread", Unit::NANOSECONDS, [("ours", 7.0)])];
        draw("miss", "what it costs", &rows, &folder).expect("it can be drawn");
        overview(&[("miss", rows)], &folder).expect("it can be drawn");
        let read = |name| fs::read_to_string(folder.join(name)).expect("it is there");
        assert!(read("miss.svg").contains("miss: what it costs"));
        assert!(read("overview.svg").contains("Miss that evicts"));
        fs::remove_dir_all(&folder).expect("it can be removed");
    }
}
