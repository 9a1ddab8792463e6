//! Plugins of the Rust SDK, built in: what the C example cannot do.

use crate::support::*;
use mlos_plugin_host::{
    Call, Error, ErrorKind, Gate, HostConfig, LoadRequest, Model, Outputs, Plugins, Verdict, Work,
};
use mlos_smi::{
    DType as D, Description, Descriptor, Dim, Failure, Host, Resources, SliceProfile, Status, TensorSpec,
};
use mlos_tensor_mem::{DType, Pool, Shape, Tensor};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Does what its model's options say.
pub struct Scripted {
    host: Host,
}

/// Takes `a` and optionally `b`, gives text, a scalar and a copy of `a`.
pub struct Script {
    host: Host,
    how: String,
    description: Description,
}

/// Calls and models that are alive or were freed, by the models' options: tests run at the same time.
static UNLOADED: Mutex<Vec<String>> = Mutex::new(Vec::new());

impl mlos_smi::Plugin for Scripted {
    type Model = Script;
    const DESCRIPTOR: Descriptor = Descriptor {
        id: c"test.scripted",
        name: c"Scripted",
        vendor: c"tests",
        version: c"0.0.1",
        description: c"does what it is told",
        formats: &[c"script", c"affine"],
    };

    fn initialize(host: Host, config_json: &str) -> Result<Self, Failure> {
        assert!(config_json != r#""panic""#, "asked to panic while initialising");
        host.log(mlos_smi::Level::Info, "scripted is ready");
        Ok(Self { host })
    }

    fn load(&self, request: &LoadRequest<'_>) -> Result<Script, Failure> {
        match request.options_json {
            "panic in load" => panic!("asked to panic while loading"),
            "not here" => {
                return Err(Failure::new(
                    Status::Unsupported,
                    "operator Foo is not known; update the plugin",
                ));
            }
            _ => {}
        }
        let spec = |name: &str, dtype, dims: &[Dim], optional| TensorSpec {
            name: name.into(),
            dtype,
            dims: dims.to_vec(),
            optional,
        };
        let any = Dim::Dynamic(None);
        let name = if request.options_json == "NUL in a name" {
            "a\0"
        } else {
            "a"
        };
        let description = Description {
            inputs: vec![
                spec(name, D::I64, std::slice::from_ref(&any), false),
                spec("b", D::F64, &[], true),
            ],
            outputs: vec![
                spec("text", D::String, std::slice::from_ref(&any), false),
                spec("count", D::U32, &[], false),
                spec("copy", D::I64, &[any], false),
            ],
            resources: Resources {
                memory_bytes: 77,
                rows_independent: true,
                ..Resources::default()
            },
        };
        Ok(Script {
            host: self.host,
            how: request.options_json.into(),
            description,
        })
    }
}

impl mlos_smi::Model for Script {
    fn description(&self) -> &Description {
        &self.description
    }

    fn infer(&self, call: &mlos_smi::Call<'_>) -> Result<(), Failure> {
        match self.how.as_str() {
            "panic" => panic!("asked to panic {}", "while running"),
            "panic late" => {
                call.checkpoint()?;
                panic!("asked to panic after a suspension");
            }
            "hint" => {
                return Err(Failure::invalid(format!(
                    "the hint is {}",
                    call.wants_checkpoint()
                )));
            }
            "talkative" => return Err(Failure::invalid("word ".repeat(10_000))),
            "other thread" => return self.checkpoint_elsewhere(call),
            "keep" => KEPT.store(call.as_ptr() as usize, Ordering::SeqCst),
            "use kept" => return self.checkpoint_of_another(KEPT.load(Ordering::SeqCst)),
            _ => {}
        }
        let [a, b] = call.inputs() else {
            return Err(Failure::invalid("two inputs"));
        };
        self.write_text(call, a.shape()[0] as usize)?;
        let count = if b.is_present() {
            b.byte_len() as u32
        } else {
            u32::MAX
        };
        call.alloc_output(1, D::U32, &[], 4)?
            .copy_from(&count.to_ne_bytes())?;
        call.checkpoint()?;
        let shape: Vec<usize> = a.shape().iter().map(|&size| size as usize).collect();
        call.alloc_output(2, D::I64, &shape, a.byte_len())?
            .copy_from(a.data()?)?;
        Ok(())
    }

    fn slice_profile(&self) -> Vec<SliceProfile> {
        vec![SliceProfile {
            rows: 1,
            total_ns: 2,
            longest_slice_ns: 3,
            checkpoints: 4,
        }]
    }

    fn resident_bytes(&self) -> u64 {
        42
    }
}

/// Address of a call that its plugin kept for too long.
static KEPT: AtomicUsize = AtomicUsize::new(0);

impl Script {
    /// "row" for each row, packed; badly if told so.
    fn write_text(&self, call: &mlos_smi::Call<'_>, rows: usize) -> Result<(), Failure> {
        let length: u32 = if self.how == "bad text" { 30 } else { 3 };
        let packed = [&length.to_le_bytes()[..], b"row"].concat().repeat(rows);
        call.alloc_output(0, D::String, &[rows], packed.len())?
            .copy_from(&packed)
    }

    fn checkpoint_of_another(&self, call: usize) -> Result<(), Failure> {
        // SAFETY: the table is valid while the plugin lives.
        let host = unsafe { &*self.host.as_ptr() };
        // SAFETY: not sound by smi.h; the host promises to refuse it without looking at the call.
        let code = unsafe { (host.checkpoint)(call as *mut mlos_smi::abi::Call) };
        Err(Failure::invalid(format!("checkpoint said {code}")))
    }

    fn checkpoint_elsewhere(&self, call: &mlos_smi::Call<'_>) -> Result<(), Failure> {
        let address = call.as_ptr() as usize;
        std::thread::scope(|scope| {
            scope
                .spawn(|| self.checkpoint_of_another(address))
                .join()
                .map_err(|_| Failure::runtime("no thread"))?
        })
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        UNLOADED.lock().unwrap().push(self.how.clone());
    }
}

mlos_smi::export_plugin!(Scripted);

#[test]
fn the_exported_symbol_is_the_table() {
    let mut plugins = Plugins::new(HostConfig::default());
    let added = plugins.add_builtin(&smi_entry, "{}").unwrap();
    assert_eq!(added[0].id, "test.scripted");
}

fn load(how: &str) -> Result<Model, Error> {
    let mut plugins = Plugins::new(HostConfig::default());
    plugins
        .add_builtin(mlos_smi::entry_of::<Scripted>(), "{}")
        .unwrap();
    plugins
        .for_format("script")
        .unwrap()
        .load(&request("model".as_ref(), how))
}

fn numbers(pool: &Pool, count: usize) -> Tensor {
    let mut tensor = pool
        .loan(DType::I64, Shape::new(&[count]).unwrap())
        .unwrap()
        .zeroed();
    for (index, value) in tensor.as_mut_slice::<i64>().unwrap().iter_mut().enumerate() {
        *value = index as i64 - 1;
    }
    tensor.freeze()
}

fn scripted_work(model: &Model, pool: &Pool) -> Work {
    Work::new(model, vec![Some(numbers(pool, 3)), None], Outputs::All).unwrap()
}

#[test]
fn a_built_in_plugin_goes_through_the_same_table() {
    let (model, pool) = (load("plain").unwrap(), pool());
    assert_eq!(model.plugin().info().formats, ["script", "affine"]);
    assert_eq!(model.info().resources.memory_bytes, 77);
    assert_eq!(model.resident_bytes(), 42);
    assert_eq!(
        model.slice_profile(),
        [SliceProfile {
            rows: 1,
            total_ns: 2,
            longest_slice_ns: 3,
            checkpoints: 4
        }]
    );
    assert!(model.info().inputs[1].optional);
    assert!(
        !model.info().rows_independent,
        "text and scalars have no rows, whatever the plugin says"
    );

    let mut call = Call::start(
        scripted_work(&model, &pool),
        None,
        &pool,
        Switch::new(Verdict::Suspend),
    );
    let (finished, suspensions) = drive(&mut call);
    finished.result.unwrap();
    assert_eq!(suspensions, 1);
    let outputs = finished.work.into_outputs().unwrap();
    assert_eq!(outputs[0].1.strings().unwrap().collect::<Vec<_>>(), [b"row"; 3]);
    assert_eq!(
        (
            outputs[1].1.shape().rank(),
            outputs[1].1.as_slice::<u32>().unwrap()
        ),
        (0, &[u32::MAX][..])
    );
    assert_eq!(outputs[2].1.as_slice::<i64>().unwrap(), [-1, 0, 1]);
}

#[test]
fn optional_inputs_may_be_given() {
    let (model, pool) = (load("optional").unwrap(), pool());
    let b = pool.loan(DType::F64, Shape::SCALAR).unwrap().zeroed().freeze();
    let work = Work::new(
        &model,
        vec![Some(numbers(&pool, 1)), Some(b)],
        Outputs::Only(&[1]),
    )
    .unwrap();
    let finished = run(work, &pool);
    finished.result.unwrap();
    let outputs = finished.work.into_outputs().unwrap();
    assert_eq!(
        outputs.len(),
        1,
        "outputs that were produced and not wanted are thrown away"
    );
    assert_eq!(outputs[0].1.as_slice::<u32>().unwrap(), [8]);
}

#[test]
fn panics_stay_in_the_plugin() {
    let pool = pool();
    let check = |how: &str, gate: Rc<dyn Gate>, says: &str| {
        let model = load(how).unwrap();
        let (finished, _) = drive(&mut Call::start(scripted_work(&model, &pool), None, &pool, gate));
        let error = finished.result.unwrap_err();
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            (ErrorKind::Plugin, says)
        );
    };
    check(
        "panic",
        open(),
        "plugin test.scripted: infer: the plugin panicked: asked to panic while running",
    );
    check(
        "panic late",
        Switch::new(Verdict::Suspend),
        "plugin test.scripted: infer: the plugin panicked: asked to panic after a suspension",
    );
    let error = load("panic in load").unwrap_err();
    assert_eq!(
        error.to_string(),
        "plugin test.scripted: load: the plugin panicked: asked to panic while loading"
    );
    let mut plugins = Plugins::new(HostConfig::default());
    let error = plugins
        .add_builtin(mlos_smi::entry_of::<Scripted>(), r#""panic""#)
        .unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("initialize: the plugin panicked: asked to panic while initialising"),
        "{error}"
    );
}

#[test]
fn failures_keep_their_status_and_text() {
    let error = load("not here").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(
        error.to_string(),
        "plugin test.scripted: load: operator Foo is not known; update the plugin"
    );
    let error = load("NUL in a name").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadModel);
    assert!(
        error.to_string().ends_with(r#"the name "a\0" holds a NUL byte"#),
        "{error}"
    );
}

#[test]
fn the_gate_gives_the_hint() {
    let (model, pool) = (load("hint").unwrap(), pool());
    let says = |gate: Rc<dyn Gate>| {
        let (finished, _) = drive(&mut Call::start(scripted_work(&model, &pool), None, &pool, gate));
        finished.result.unwrap_err().to_string()
    };
    assert_eq!(says(open()), "plugin test.scripted: infer: the hint is false");
    assert_eq!(
        says(Switch::new(Verdict::Suspend)),
        "plugin test.scripted: infer: the hint is true"
    );
}

#[test]
fn long_texts_are_cut() {
    let (model, pool) = (load("talkative").unwrap(), pool());
    let error = run(scripted_work(&model, &pool), &pool).result.unwrap_err();
    let Error::Plugin { message, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(message.len(), mlos_plugin_host::limits::ERROR_TEXT_BYTES_MAX);
}

#[test]
fn malformed_text_is_the_plugins_fault() {
    let (model, pool) = (load("bad text").unwrap(), pool());
    let error = run(scripted_work(&model, &pool), &pool).result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Plugin);
    assert!(
        error
            .to_string()
            .starts_with("plugin test.scripted: output `text`: "),
        "{error}"
    );
}

#[test]
fn callbacks_for_a_call_that_does_not_run_here_are_refused() {
    let pool = pool();
    let refused = format!(
        "plugin test.scripted: infer: checkpoint said {}",
        Status::InvalidArgument.code()
    );
    // From another thread.
    let model = load("other thread").unwrap();
    assert_eq!(
        run(scripted_work(&model, &pool), &pool)
            .result
            .unwrap_err()
            .to_string(),
        refused
    );
    // For a call that is suspended, then for one that is over.
    let (keeper, user) = (load("keep").unwrap(), load("use kept").unwrap());
    let mut kept = Call::start(
        scripted_work(&keeper, &pool),
        None,
        &pool,
        Switch::new(Verdict::Suspend),
    );
    assert!(matches!(kept.resume(), mlos_plugin_host::Step::Suspended));
    assert_eq!(
        run(scripted_work(&user, &pool), &pool)
            .result
            .unwrap_err()
            .to_string(),
        refused
    );
    drive(&mut kept).0.result.unwrap();
    KEPT.store(8, Ordering::SeqCst);
    assert_eq!(
        run(scripted_work(&user, &pool), &pool)
            .result
            .unwrap_err()
            .to_string(),
        refused
    );
}

#[test]
fn a_model_is_unloaded_with_its_last_user() {
    let unloaded = || UNLOADED.lock().unwrap().iter().any(|how| how == "unload me");
    let pool = pool();
    let model = load("unload me").unwrap();
    let plugin = Arc::downgrade(model.plugin());
    let mut call = Call::start(
        scripted_work(&model, &pool),
        None,
        &pool,
        Switch::new(Verdict::Suspend),
    );
    call.resume();
    drop(model);
    assert!(!unloaded(), "a suspended call holds its model");
    drop(call);
    assert!(unloaded());
    assert_eq!(plugin.strong_count(), 0, "and the model its plugin");
}
