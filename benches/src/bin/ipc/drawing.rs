//! The latencies as a picture: the curves of the small messages, and below them the table of all.

use std::fmt::Write;

use mlos_benches::histogram::Samples;
use mlos_benches::report;
use mlos_benches::svg::{self, Plot, Series};

use crate::summary;

const WIDTH: u32 = 840;
/// Of the curves, above the table.
const CURVES: u32 = 460;
const LINE: u32 = 20;
/// Where a column ends; the first starts at the left margin.
const LEFT: u32 = 70;
const COLUMNS: [u32; 5] = [370, 460, 550, 650, 760];

/// Draws it.
pub(crate) fn draw(series: &[Series<'_>], rows: &[(String, &Samples)]) -> String {
    let machine = report::machine();
    let curves = svg::draw(&Plot {
        title: "A round trip over shared memory, and what else there is",
        subtitle: "64 bytes there and 64 back; in alternating turns, server on core 0, client on core 1",
        machine: machine["cpu"].as_str().unwrap_or("an unknown processor"),
        series,
    });
    let height = CURVES + LINE * (rows.len() as u32 + 3);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" font-family=\"system-ui,sans-serif\" font-size=\"13\" role=\"img\">\n{curves}"
    );
    let head = ["microseconds", "p50", "p99", "p99.9", "max", "n"].map(str::to_owned);
    line(&mut svg, "s", CURVES + LINE, &head);
    for (at, (name, samples)) in (2..).zip(rows) {
        line(&mut svg, "i", CURVES + at * LINE, &summary::row(name, samples));
    }
    svg + "</svg>\n"
}

fn line(svg: &mut String, class: &str, y: u32, cells: &[String]) {
    let Some((name, numbers)) = cells.split_first() else {
        return;
    };
    // Writing to a string does not fail.
    let _ = write!(
        svg,
        "<text class=\"{class}\" x=\"{LEFT}\" y=\"{y}\">{name}</text>"
    );
    for (x, number) in COLUMNS.iter().zip(numbers) {
        let _ = write!(
            svg,
            "<text class=\"{class}\" x=\"{x}\" y=\"{y}\" text-anchor=\"end\">{number}</text>"
        );
    }
    svg.push('\n');
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_row_is_there() {
        let mut samples = Samples::default();
        (1..=1000).for_each(|ns| samples.push(Duration::from_nanos(ns)));
        let series = [Series {
            name: "a",
            samples: &samples,
        }];
        let svg = draw(&series, &[("a".to_owned(), &samples), ("b".to_owned(), &samples)]);
        assert_eq!(svg.matches(">0.50</text>").count(), 2);
        assert_eq!(svg.matches(">1000</text>").count(), 2);
        assert_eq!(svg.matches("<svg").count(), svg.matches("</svg>").count());
    }
}
