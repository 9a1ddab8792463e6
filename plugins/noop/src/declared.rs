use mlos_smi::{DType, Description, Dim, Failure, TensorSpec, abi};

/// What is written to outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fill {
    /// Zeros.
    #[default]
    Zeros,
    /// The input of the same number.
    Echo,
    /// Nothing: they stay as they are.
    Nothing,
}

/// A model file, read. The crate's documentation has the format.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Declared {
    /// What it takes and gives.
    pub description: Description,
    /// What is written to outputs.
    pub fill: Fill,
    /// How often it asks the host whether to go on.
    pub checkpoints: u32,
}

impl Declared {
    /// Reads a model file.
    ///
    /// # Errors
    /// [`BadModel`](mlos_smi::Status::BadModel), with the line.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let mut declared = Self::default();
        let mut lines = text.lines().enumerate().filter_map(|(index, line)| {
            let words: Vec<&str> = line.split('#').next()?.split_whitespace().collect();
            (!words.is_empty()).then_some((index + 1, words))
        });
        if lines.next().is_none_or(|(_, words)| words != ["noop", "1"]) {
            return Err(Failure::bad_model("the first line is not `noop 1`"));
        }
        for (number, words) in lines {
            declared
                .line(&words)
                .map_err(|what| Failure::bad_model(format!("line {number}: {what}")))?;
        }
        declared.check()?;
        Ok(declared)
    }

    fn line(&mut self, words: &[&str]) -> Result<(), String> {
        match words {
            ["input", rest @ ..] => self.description.inputs.push(tensor(rest)?),
            ["output", rest @ ..] => self.description.outputs.push(tensor(rest)?),
            ["fill", "zeros"] => self.fill = Fill::Zeros,
            ["fill", "echo"] => self.fill = Fill::Echo,
            ["fill", "nothing"] => self.fill = Fill::Nothing,
            ["checkpoints", count] => {
                self.checkpoints = count
                    .parse()
                    .map_err(|_| format!("`{count}` is no number of checkpoints"))?;
            }
            ["rows", "independent"] => self.description.resources.rows_independent = true,
            _ => return Err(format!("`{}` is not understood", words.join(" "))),
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Failure> {
        let (inputs, outputs) = (&self.description.inputs, &self.description.outputs);
        for (index, output) in outputs.iter().enumerate() {
            let name = &output.name;
            if output.dtype == DType::String && self.fill != Fill::Echo {
                let what = format!("output `{name}` is text, which can only be echoed");
                return Err(Failure::bad_model(what));
            }
            let twin = inputs.get(index);
            let is_twin = twin.is_some_and(|twin| (twin.dtype, &twin.dims) == (output.dtype, &output.dims));
            if self.fill == Fill::Echo && !is_twin {
                let what = format!(
                    "output `{name}` is no echo: input {index} has another type or other dimensions, or is not there"
                );
                return Err(Failure::bad_model(what));
            }
            // Of an output that is no echo, a dynamic dimension has the size that it has in the first input.
            let rank = inputs.first().map_or(0, |first| first.dims.len());
            if output
                .dims
                .iter()
                .skip(rank)
                .any(|dim| matches!(dim, Dim::Dynamic(_)))
                && !is_twin
            {
                let what =
                    format!("output `{name}` has a dynamic dimension that the first input does not have");
                return Err(Failure::bad_model(what));
            }
        }
        Ok(())
    }
}

/// `x f32 ?,16`
fn tensor(words: &[&str]) -> Result<TensorSpec, String> {
    let &[name, dtype, dims] = words else {
        return Err("a tensor is a name, an element type and dimensions, as in `x f32 ?,16`".into());
    };
    let known = |known: &DType| format!("{known:?}").eq_ignore_ascii_case(dtype);
    let spec = TensorSpec {
        name: name.into(),
        dtype: DType::ALL.into_iter().find(known).ok_or_else(|| {
            format!("`{dtype}` is no element type, as f32, bf16, i64, u8, bool or string are")
        })?,
        dims: if dims == "-" {
            vec![]
        } else {
            dims.split(',').map(dim).collect::<Result<_, _>>()?
        },
        optional: false,
    };
    if spec.dims.len() > abi::RANK_MAX {
        return Err(format!("more than {} dimensions", abi::RANK_MAX));
    }
    Ok(spec)
}

fn dim(text: &str) -> Result<Dim, String> {
    if text == "?" {
        return Ok(Dim::Dynamic(None));
    }
    text.parse()
        .map(Dim::Fixed)
        .map_err(|_| format!("`{text}` is no dimension: a number or ?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read() {
        let text = "noop 1 # yes\n\ninput x f32 ?,16\ninput n i64 -\noutput y F32 ?,16\nfill nothing\n\
                    checkpoints 3\nrows independent\n";
        let declared = Declared::parse(text).unwrap();
        let Description {
            inputs,
            outputs,
            resources,
        } = &declared.description;
        assert_eq!(inputs[0].dims, [Dim::Dynamic(None), Dim::Fixed(16)]);
        assert_eq!((inputs[1].dtype, inputs[1].dims.len()), (DType::I64, 0));
        assert_eq!((outputs[0].name.as_str(), outputs[0].dtype), ("y", DType::F32));
        assert!(resources.rows_independent);
        assert_eq!((declared.fill, declared.checkpoints), (Fill::Nothing, 3));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (text, says) in [
            ("", "the first line is not `noop 1`"),
            ("noop 2\n", "the first line is not `noop 1`"),
            ("noop 1\nfill up", "line 2: `fill up` is not understood"),
            (
                "noop 1\n\ninput x",
                "line 3: a tensor is a name, an element type and",
            ),
            ("noop 1\ninput x float 1", "line 2: `float` is no element type"),
            ("noop 1\ninput x f32 1,-2", "line 2: `-2` is no dimension"),
            ("noop 1\ninput x f32 1,,2", "line 2: `` is no dimension"),
            ("noop 1\ncheckpoints many", "line 2: `many` is no number"),
            ("noop 1\noutput y string 1", "output `y` is text"),
            ("noop 1\noutput y f32 1\nfill echo", "output `y` is no echo"),
            (
                "noop 1\ninput x f32 2\noutput y f32 1\nfill echo",
                "output `y` is no echo",
            ),
            (
                "noop 1\ninput x f32 2\noutput y f32 1,?",
                "output `y` has a dynamic dimension",
            ),
        ] {
            let failure = Declared::parse(text).unwrap_err();
            assert!(failure.message.starts_with(says), "{text:?}: {}", failure.message);
        }
        let dims = vec!["1"; abi::RANK_MAX + 1].join(",");
        assert!(Declared::parse(&format!("noop 1\ninput x f32 {dims}")).is_err());
    }
}
