//! An engine that answers at once, or when another request lets it.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use mlos_api::*;
use mlos_tensor_mem::{DType, Pool, PoolConfig, Shape};

/// What a test can see from its own thread.
#[derive(Default)]
pub struct Seen {
    pub asked: AtomicUsize,
    pub cancelled: AtomicUsize,
    pub bound: AtomicUsize,
    pub dropped: AtomicUsize,
}

#[derive(Clone)]
pub struct Engine(Rc<Inner>);

struct Inner {
    pool: Pool,
    seen: Arc<Seen>,
    /// Those of `test/hold` that have no answer yet.
    held: RefCell<Vec<Held>>,
    next: Cell<usize>,
}

struct Held {
    bound: usize,
    asker: Rc<dyn Asker>,
    number: u64,
}

/// What is bound to a model, by number.
pub struct Bound {
    engine: Engine,
    model: String,
    number: usize,
}

impl Drop for Bound {
    fn drop(&mut self) {
        self.engine.0.seen.dropped.fetch_add(1, SeqCst);
        self.engine
            .answer(|held| held.bound == self.number, Some(Error::Cancelled));
    }
}

impl Engine {
    pub fn new(seen: Arc<Seen>) -> Self {
        Self(Rc::new(Inner {
            pool: Pool::new(PoolConfig::default()).unwrap(),
            seen,
            held: RefCell::default(),
            next: Cell::default(),
        }))
    }

    fn answer(&self, which: impl Fn(&Held) -> bool, error: Option<Error>) {
        let (of, rest) = self.0.held.take().into_iter().partition(which);
        self.0.held.replace(rest);
        let of: Vec<Held> = of;
        of.iter()
            .for_each(|held| tell(&held.asker, held.number, error.as_ref()));
    }
}

fn tell(asker: &Rc<dyn Asker>, number: u64, error: Option<&Error>) {
    let shapes = [Some(Shape::new(&[4]).unwrap())];
    let outcome = Outcome {
        result: error.map_or(Ok(&shapes), Err),
        timing: Timing::default(),
        class: Class::Normal,
    };
    asker.answered(number, &outcome);
}

impl Service for Engine {
    fn model(&self, model: &ModelRef) -> Result<Arc<ModelDetail>, Error> {
        let spec = |name: &str| TensorSpec {
            name: name.to_owned(),
            dtype: DType::F32,
            dims: vec![Dim::Fixed(4)],
        };
        Ok(Arc::new(ModelDetail {
            model: model.clone(),
            state: LifecycleState::Ready,
            failure: None,
            active: true,
            format: String::new(),
            framework: String::new(),
            description: String::new(),
            plugin: String::new(),
            path: PathBuf::new(),
            signatures: vec![Signature {
                inputs: vec![spec("x")],
                outputs: vec![spec("y")],
                ..Signature::default()
            }],
            preprocessing: Preprocessing::None,
            class_default: Class::Normal,
            resident_bytes: 0,
            load_ms: 0,
            versions: Vec::new(),
        }))
    }

    fn pool(&self) -> &Pool {
        &self.0.pool
    }

    async fn breathe(&self) {}

    async fn infer(&self, _: InferRequest) -> Result<InferResponse, Error> {
        unreachable!("this edge asks for what is bound")
    }

    async fn register(&self, _: RegisterRequest) -> Result<Registered, Error> {
        unreachable!("this edge registers nothing")
    }

    async fn scan(&self) -> Result<ScanReport, Error> {
        unreachable!("this edge registers nothing")
    }

    async fn unregister(&self, _: &ModelRef) -> Result<(), Error> {
        unreachable!("this edge removes nothing")
    }

    async fn activate(&self, _: &ModelRef) -> Result<ModelRef, Error> {
        unreachable!("this edge activates nothing")
    }

    fn models(&self) -> Vec<ModelSummary> {
        Vec::new()
    }

    fn plugins(&self) -> Vec<PluginStatus> {
        Vec::new()
    }

    fn health(&self) -> Health {
        unreachable!("this edge is not asked for it")
    }

    fn stats(&self) -> Stats {
        unreachable!("this edge is not asked for it")
    }
}

impl StandingService for Engine {
    type Bound = Bound;

    fn bind(&self, binding: Binding) -> Result<Bound, Error> {
        self.0.seen.bound.fetch_add(1, SeqCst);
        let number = self.0.next.get();
        self.0.next.set(number + 1);
        Ok(Bound {
            engine: self.clone(),
            model: binding.model.id,
            number,
        })
    }

    fn ask(&self, bound: &Bound, _: Terms, asker: &Rc<dyn Asker>, number: u64) -> Result<(), Error> {
        self.0.seen.asked.fetch_add(1, SeqCst);
        match bound.model.as_str() {
            "test/hold" => self.0.held.borrow_mut().push(Held {
                bound: bound.number,
                asker: asker.clone(),
                number,
            }),
            "test/release" => {
                tell(asker, number, None);
                self.answer(|_| true, None);
            }
            _ => tell(asker, number, None),
        }
        Ok(())
    }

    fn asked_all(&self) {}

    fn cancel(&self, bound: &Bound) {
        self.0.seen.cancelled.fetch_add(1, SeqCst);
        self.answer(|held| held.bound == bound.number, Some(Error::Cancelled));
    }
}
