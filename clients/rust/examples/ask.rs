//! Asks a model with 1, 2, 3 … for its first input, and prints what comes back: the smallest whole program.
//!
//! `cargo run --release -p mlos-client --example ask -- hub/name`

use mlos_client::{Class, Client, DType, Error, Options, Terms};
use std::time::Duration;

fn main() -> std::process::ExitCode {
    let Some(model) = std::env::args().nth(1) else {
        eprintln!("usage: ask hub/name");
        return 2.into();
    };
    let connected = Options::default().connect_default();
    match connected.and_then(|client| ask(&client, &model)) {
        Ok(()) => 0.into(),
        Err(error) => {
            eprintln!("{}: {error}", error.kind().name());
            1.into()
        }
    }
}

fn ask(client: &Client, model: &str) -> Result<(), Error> {
    let model = client.open(model)?;
    // Laid out in shared memory and checked, once.
    let mut request = model.request().bind()?;
    let first = model.inputs().first();
    if first.is_some_and(|input| input.dtype == DType::F32) {
        for (at, x) in request.input_at_mut::<f32>(0)?.iter_mut().enumerate() {
            *x = (at + 1) as f32;
        }
    }
    // As often as you like.
    let terms = Terms::class(Class::High).within(Duration::from_secs(1));
    let outputs = request.infer(&terms)?;
    for info in model.outputs() {
        match info.dtype {
            DType::F32 => println!("{}: {:?}", info.name, outputs.get::<f32>(&info.name)?),
            DType::I64 => println!("{}: {:?}", info.name, outputs.get::<i64>(&info.name)?),
            dtype => println!("{}: (of type {dtype})", info.name),
        }
    }
    println!("computed in {:?}", outputs.timing().compute);
    Ok(())
}
