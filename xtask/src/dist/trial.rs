//! What was packed, unpacked elsewhere and used: by the shell, from C and from Python, as the guide to local clients says.

use std::fs;
use std::path::Path;

use super::python;
use crate::demo::MODEL;
use crate::demo::daemon::Daemon;
use crate::demo::home::Home;
use crate::error::Result;
use crate::process::{command, output, root, run as run_shown};
use crate::setup::Ready;

/// Its examples are run as they are printed.
const GUIDE: &str = "docs/guides/local.md";

/// Fails where the archive does not hold what it should.
pub fn run(archive: &Path, name: &str, ready: &Ready) -> Result {
    println!("\n== What was packed, used ==\n");
    let place = std::env::temp_dir().join(format!("mlos-dist-{}", std::process::id()));
    fs::create_dir(&place)?;
    let tried = unpacked(archive, &place).and_then(|()| used(&place.join(name), &place, ready));
    fs::remove_dir_all(&place)?;
    tried
}

fn unpacked(archive: &Path, place: &Path) -> Result {
    run_shown(command("tar").arg("-xf").arg(archive).arg("-C").arg(place))
}

fn used(dist: &Path, place: &Path, ready: &Ready) -> Result {
    let home = Home::new(dist.join("bin"))?;
    let daemon = Daemon::start(&home, ready)?;
    let digits = root().join("models/digits");
    run_shown(home.equip(command("axon").arg("install").arg(digits)))?;
    run_shown(home.equip(command("axon").args(["register", MODEL])))?;
    let zeros = format!("image={:?}", [0; 64]);
    let mut infer = command("axon");
    run_shown(home.equip(infer.args(["infer", MODEL, "--via", "local", "-i", &zeros])))?;
    from_c(dist, &home)?;
    from_python(dist, place, &home)?;
    daemon.stop()
}

fn from_c(dist: &Path, home: &Home) -> Result {
    let mut shell = command("sh");
    shell
        .args(["-e", "-c", &example("### C", "sh")?])
        .current_dir(dist);
    let said = output(home.equip(&mut shell))?;
    print!("{said}");
    expect(said.contains("logits: "), "the C example", &said)?;
    let manual = output(command("man").arg("-l").arg(dist.join("share/man/man3/mlos.3")));
    // Not every system has `man`; where there is one, it can read ours.
    if let Ok(manual) = manual {
        expect(manual.contains("mlos_connect"), "the manual", &manual)?;
    }
    Ok(())
}

fn from_python(dist: &Path, place: &Path, home: &Home) -> Result {
    let venv = python::environment(place)?;
    let mut pip = command(venv.join("bin/pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check"]);
    run_shown(pip.arg(python::wheel_in(&dist.join("python"))?))?;
    let mut python = command(venv.join("bin/python"));
    python.args(["-c", &example("### Python", "python")?]);
    let said = output(home.equip(&mut python))?;
    print!("{said}");
    expect(said.lines().count() == 3, "the Python example", &said)
}

/// The guide's block in a language, under a heading.
fn example(heading: &str, language: &str) -> Result<String> {
    let guide = fs::read_to_string(root().join(GUIDE))?;
    let (_, section) = guide
        .split_once(&format!("\n{heading}\n"))
        .ok_or_else(|| format!("{GUIDE} has no {heading}"))?;
    let section = section.split("\n#").next().unwrap_or(section);
    let block = section.split_once(&format!("\n```{language}\n"));
    let block = block.and_then(|(_, rest)| rest.split_once("\n```\n"));
    let (block, _) = block.ok_or_else(|| format!("{GUIDE}, {heading}: no block of {language}"))?;
    Ok(block.to_owned())
}

fn expect(is_right: bool, what: &str, said: &str) -> Result {
    match is_right {
        true => Ok(()),
        false => Err(format!("{what} does not do what it should: {said}").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guide_has_what_is_tried() {
        assert!(example("### C", "sh").unwrap().contains("pkg-config"));
        assert!(
            example("### Python", "python")
                .unwrap()
                .starts_with("import mlos")
        );
        assert!(example("### Rust", "sh").unwrap().contains("--example ask"));
        for (heading, language) in [("### Go", "sh"), ("### C", "python")] {
            assert!(example(heading, language).is_err(), "{heading} {language}");
        }
    }
}
