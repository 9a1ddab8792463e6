//! Asks the digits model about images that it was not trained on, and says what it gets wrong.

use std::fs;

use super::daemon::Daemon;
use crate::error::Result;
use crate::json::Value;
use crate::process::{line, output, root, run};

/// The package that the repository carries.
pub const MODEL: &str = "mlos/digits@1.0.0";

const PATH: &str = "/models/mlos/digits/inference";
const SAMPLES: &str = "models/digits/samples";

/// An image with what it shows.
struct Sample {
    file: String,
    label: String,
    pixels: Vec<u8>,
}

/// Shows one image, asks about all.
pub fn ask(daemon: &Daemon<'_>) -> Result {
    let samples = samples()?;
    show(daemon, samples.first().ok_or("there is no sample")?)?;
    println!("\nThe same as a PNG, and so all that are in {SAMPLES}: images that it has never seen.\n");
    let mut right = 0;
    for (at, sample) in samples.iter().enumerate() {
        let said = ask_png(daemon, sample, at == 0)?;
        let is_right = said == sample.label;
        right += usize::from(is_right);
        let verdict = if is_right { "" } else { "   wrong" };
        println!(
            "  {}  shows {}, the model says {said}{verdict}",
            sample.file, sample.label
        );
    }
    println!(
        "\n{right} of {} are right; {SAMPLES} has two of the three that it gets wrong of 360.",
        samples.len()
    );
    Ok(())
}

/// The image in characters, and the whole exchange as JSON.
fn show(daemon: &Daemon<'_>, sample: &Sample) -> Result {
    println!("\n{} as 64 numbers:\n\n{}", sample.file, drawn(&sample.pixels));
    let image = Value::List(
        sample
            .pixels
            .iter()
            .map(|pixel| Value::Number(f64::from(*pixel)))
            .collect(),
    );
    let body = Value::Object(vec![
        ("image".to_owned(), image),
        ("priority".to_owned(), "realtime".into()),
    ]);
    run(daemon.curl(PATH).args(["-d", &body.to_string()]))?;
    println!();
    Ok(())
}

fn ask_png(daemon: &Daemon<'_>, sample: &Sample, shown: bool) -> Result<String> {
    let mut curl = daemon.curl(PATH);
    curl.args([
        "-H",
        "content-type: image/png",
        "--data-binary",
        &format!("@{SAMPLES}/{}", sample.file),
    ]);
    if shown {
        println!("$ {}", line(&curl));
    }
    digit(&output(&mut curl)?)
}

/// The digit in an answer.
fn digit(answer: &str) -> Result<String> {
    let parsed = Value::parse(answer)?;
    let outputs = parsed["outputs"].items().iter();
    let digit = outputs
        .filter(|output| output["name"].as_str() == Some("digit"))
        .find_map(|output| output["data"][0].as_f64());
    Ok(digit
        .ok_or_else(|| format!("there is no digit in {answer}"))?
        .to_string())
}

fn samples() -> Result<Vec<Sample>> {
    let text = fs::read_to_string(root().join(SAMPLES).join("samples.json"))?;
    let samples = Value::parse(&text)?;
    samples.items().iter().map(sample).collect()
}

fn sample(value: &Value) -> Result<Sample> {
    let incomplete = || format!("a sample lacks its file, label or image: {value}");
    Ok(Sample {
        file: value["file"].as_str().ok_or_else(incomplete)?.to_owned(),
        label: value["label"].as_f64().ok_or_else(incomplete)?.to_string(),
        pixels: value["image"]
            .items()
            .iter()
            .filter_map(Value::as_f64)
            .map(brightness)
            .collect(),
    })
}

/// From 0 (paper) to 16 (ink).
fn brightness(value: f64) -> u8 {
    value.clamp(0.0, 16.0) as u8
}

/// Eight lines of eight points, each two characters wide.
fn drawn(pixels: &[u8]) -> String {
    const INK: [char; 5] = [' ', '.', 'o', '#', '@'];
    let point = |pixel: &u8| INK[usize::from(*pixel).div_ceil(4).min(4)];
    let row = |row: &[u8]| {
        row.iter()
            .map(point)
            .flat_map(|ink| [ink, ink])
            .collect::<String>()
    };
    pixels
        .chunks(8)
        .map(|pixels| format!("    {}\n", row(pixels).trim_end()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digit_is_read_from_the_answer() {
        let answer = r#"{"outputs": [{"name": "logits", "data": [0.5]}, {"name": "digit", "data": [7]}]}"#;
        assert_eq!(digit(answer).unwrap(), "7");
        assert!(
            digit(r#"{"outputs": []}"#)
                .unwrap_err()
                .to_string()
                .contains("no digit")
        );
    }

    #[test]
    fn the_repositorys_samples_are_read_whole() {
        let samples = samples().unwrap();
        assert_eq!(samples.len(), 20);
        for sample in samples {
            assert_eq!(sample.pixels.len(), 64, "{}", sample.file);
            assert!(sample.file.starts_with(&sample.label));
        }
    }

    #[test]
    fn an_image_is_drawn() {
        let mut pixels = vec![0; 16];
        (pixels[1], pixels[8], pixels[9]) = (16, 1, 8);
        assert_eq!(drawn(&pixels), "      @@\n    ..oo\n");
    }
}
