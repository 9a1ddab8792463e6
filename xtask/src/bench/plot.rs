//! The figures as bars, in SVG by hand. Those of one unit share a scale; the ink follows the reader's colour scheme.

use std::fmt::Write;

use crate::json::Value;

const ROW: usize = 26;
const LABELS: usize = 280;
const BARS: usize = 420;
const VALUES: usize = 100;
const TOP: usize = 56;

/// A row for each figure, in the order in which they are given.
pub fn draw(title: &str, figures: &[(String, Value)]) -> String {
    let (width, height) = (LABELS + BARS + VALUES, TOP + ROW * figures.len() + 12);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <style>text {{ fill: #333 }} @media (prefers-color-scheme: dark) {{ text {{ fill: #ddd }} }}</style>\n\
         <text x=\"12\" y=\"28\" font-size=\"16\">{title}</text>\n"
    );
    for (at, (id, value)) in figures.iter().enumerate() {
        let y = TOP + ROW * at;
        let part = value
            .as_f64()
            .map_or(0.0, |value| value.abs() / largest(figures, unit(id)));
        let bar = BARS as f64 * part;
        // Writing to a string does not fail.
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{id}</text>\
             <rect x=\"{LABELS}\" y=\"{y}\" width=\"{bar:.1}\" height=\"{}\" fill=\"#2f8fe0\"/>\
             <text x=\"{:.1}\" y=\"{}\">{}</text>",
            LABELS - 10,
            y + 14,
            ROW - 8,
            LABELS as f64 + bar + 6.0,
            y + 14,
            shown(value),
        );
    }
    svg + "</svg>\n"
}

/// The unit is the last part of a figure's id.
fn unit(id: &str) -> &str {
    id.rsplit('_').next().unwrap_or(id)
}

fn largest(figures: &[(String, Value)], of_unit: &str) -> f64 {
    let same = figures.iter().filter(|(id, _)| unit(id) == of_unit);
    let values = same.filter_map(|(_, value)| value.as_f64()).map(f64::abs);
    values.fold(f64::MIN_POSITIVE, f64::max)
}

/// A figure with as many digits as mean something.
pub fn shown(value: &Value) -> String {
    match value.as_f64() {
        Some(number) if number.abs() >= 100.0 || number.fract() == 0.0 => format!("{number:.0}"),
        Some(number) => format!("{number:.3}"),
        None => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_of_one_unit_share_a_scale() {
        let figures = [("a_ms", 2.0), ("b_ms", 1.0), ("c_x", 0.5)];
        let figures = figures.map(|(id, value)| (id.to_owned(), Value::Number(value)));
        let svg = draw("t", &figures);
        let widths: Vec<&str> = svg
            .lines()
            .filter_map(|line| line.split("width=\"").nth(1)?.split('"').next())
            .collect();
        assert_eq!(widths, ["420.0", "210.0", "420.0"]);
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
    }

    #[test]
    fn a_figure_shows_what_means_something() {
        for (value, expect) in [
            (0.0, "0"),
            (1.25, "1.250"),
            (123.4, "123"),
            (-0.5, "-0.500"),
            (7.0, "7"),
        ] {
            assert_eq!(shown(&Value::Number(value)), expect);
        }
        assert_eq!(shown(&Value::Null), "-");
    }
}
