//! Drawings: the figures as bars, a file for each unit.

use std::fmt::Display;
use std::path::Path;
use std::{fs, io};

use plotters::backend::SVGBackend;
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::{Rectangle, Text};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{BLACK, Color, IntoFont, RGBColor, TextStyle, WHITE};

use crate::report::{Row, Unit, by_unit};

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const WIDTH: u32 = 900;
/// Of the titles.
const TOP: i32 = 64;
const BAR: i32 = 16;
const GAP: i32 = 30;
const BOTTOM: i32 = 16;
/// Where bars begin, and where the longest end; the number comes after.
const LEFT: i32 = 170;
const RIGHT: i32 = 800;

/// Writes `BENCH.svg`, or where there are several units `BENCH-UNIT.svg` for each.
pub(crate) fn draw(bench: &str, about: &str, rows: &[Row], folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let several = by_unit(rows).count() > 1;
    for (unit, rows) in by_unit(rows) {
        let name = if several { format!("{bench} {}", unit.name) } else { bench.to_owned() };
        let file = folder.join(file_name(&name));
        chart(&format!("{bench}: {about}"), unit, rows, &file)?;
    }
    Ok(())
}

/// Letters and figures, with dashes for what is between.
fn file_name(name: &str) -> String {
    let words: Vec<_> =
        name.split(|it: char| !it.is_ascii_alphanumeric()).filter(|it| !it.is_empty()).collect();
    words.join("-") + ".svg"
}

/// Each case has a scale of its own, as what counts is how its bars compare.
fn chart(title: &str, unit: Unit, rows: &[Row], file: &Path) -> io::Result<()> {
    let heights: Vec<_> = rows.iter().map(height).collect();
    let size = (WIDTH, u32::try_from(TOP + heights.iter().sum::<i32>() + BOTTOM).unwrap_or_default());
    let area = SVGBackend::new(file, size).into_drawing_area();
    area.fill(&WHITE).map_err(failed)?;
    let better = if unit.more_is_better { "longer is better" } else { "shorter is better" };
    let subtitle = format!("{}, {better}; each case has its own scale", unit.name);
    write(&area, title, (16, 22), 20.0, HPos::Left)?;
    write(&area, &subtitle, (16, 46), 14.0, HPos::Left)?;
    let mut top = TOP;
    for (row, height) in rows.iter().zip(heights) {
        draw_case(&area, row, top)?;
        top += height;
    }
    area.present().map_err(failed)
}

/// Of a case with its bars.
fn height(row: &Row) -> i32 {
    let bars = i32::try_from(row.compared().count()).unwrap_or_default();
    GAP + bars * BAR
}

fn draw_case(area: &Area<'_>, row: &Row, top: i32) -> io::Result<()> {
    write(area, &row.case, (16, top + GAP / 2), 15.0, HPos::Left)?;
    let longest = row.compared().map(|(_, figure)| figure).fold(0.0, f64::max);
    for (at, (name, figure)) in (0..).zip(row.compared()) {
        let (above, below) = (top + GAP + at * BAR, top + GAP + (at + 1) * BAR - 3);
        let middle = i32::midpoint(above, below);
        let end = LEFT + length(figure, longest);
        let bar = Rectangle::new([(LEFT, above), (end, below)], color(name).filled());
        area.draw(&bar).map_err(failed)?;
        write(area, name, (LEFT - 8, middle), 13.0, HPos::Right)?;
        write(area, &row.unit.text(figure), (end + 6, middle), 13.0, HPos::Left)?;
    }
    Ok(())
}

/// Of a bar, when the longest one is for this figure.
fn length(figure: f64, longest: f64) -> i32 {
    let part = if longest > 0.0 { figure / longest } else { 0.0 };
    #[expect(clippy::cast_possible_truncation, reason = "to whole dots")]
    {
        (part * f64::from(RIGHT - LEFT)).round() as i32
    }
}

/// Ours stands out, and peers look the same in every drawing.
fn color(name: &str) -> RGBColor {
    match name {
        "ours" => RGBColor(0, 114, 178),
        "quick_cache" => RGBColor(230, 159, 0),
        "moka" => RGBColor(0, 158, 115),
        "cached" => RGBColor(204, 121, 167),
        "concurrent_cached" => RGBColor(220, 170, 200),
        _ => RGBColor(170, 170, 170),
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

    #[test]
    fn files_are_named_for_bench_and_unit() {
        assert_eq!(file_name("hit"), "hit.svg");
        assert_eq!(file_name("hit-ratio of the optimum"), "hit-ratio-of-the-optimum.svg");
        assert_eq!(file_name("expiry hits/s"), "expiry-hits-s.svg");
    }

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
        let folder = std::env::temp_dir().join(format!("cached-benches-plot-{}", std::process::id()));
        let row = |case: &str, unit| Row {
            case: case.to_owned(),
            figures: vec![("ours", 7.04), ("quick_cache", 13.0), ("loop", 1.5)],
            unit,
        };
        let rows =
            [row("one < two", Unit::NANOSECONDS), row("three", Unit::NANOSECONDS), row("four", Unit::BYTES)];
        draw("hit", "what it costs", &rows, &folder).expect("it can be drawn");
        let drawing = fs::read_to_string(folder.join("hit-ns.svg")).expect("it is there");
        for text in [
            "hit: what it costs",
            "ns, shorter",
            "one &lt; two",
            "three",
            "ours",
            "quick_cache",
            "7.0",
            "13.0",
        ] {
            assert!(drawing.contains(text), "{text} is missing:\n{drawing}");
        }
        assert!(!drawing.contains("loop") && !drawing.contains("four"));
        assert!(folder.join("hit-bytes.svg").exists());
        fs::remove_dir_all(&folder).expect("it can be removed");
    }
}
