//! Bound requests: checked once, asked often, answered in place.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mlos_api::{Asker, Binding, Class, Error, Kind, Outcome, Service, StandingService, Terms};
use mlos_core::{Node, Standing, clock};
use mlos_tensor_mem::{DType, Region, Segment, SegmentOptions, Shape, Tensor};
use serde_json::json;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::support::{COLUMNS, Folders, MODES, model, ready, register, state, total, until, with_engine};

const SLOW: &str = "a 2\nb 1\nbusy_us 500";

/// The shapes of the outputs.
type Answer = Result<Vec<Option<Shape>>, Error>;

/// Keeps the answers, by number.
#[derive(Default)]
struct Answers(RefCell<Vec<(u64, Answer)>>);

impl Asker for Answers {
    fn answered(&self, number: u64, outcome: &Outcome<'_>) {
        let result = outcome.result.map(<[_]>::to_vec).map_err(Clone::clone);
        self.0.borrow_mut().push((number, result));
    }
}

impl Answers {
    /// The answer to the only request.
    async fn only(&self) -> Answer {
        until(|| self.0.borrow().len() == 1).await;
        self.0.borrow_mut().pop().unwrap().1
    }
}

/// A piece of memory that a client would share: `x`, then `y`, then `sums`, a page each.
struct Desk {
    arena: Arc<Segment>,
    rows: usize,
}

impl Desk {
    const PAGE: usize = 4096;

    fn new(rows: usize) -> Self {
        let options = SegmentOptions::default();
        let arena = Arc::new(Segment::create(3 * Self::PAGE, &options).unwrap());
        Self { arena, rows }
    }

    fn region(&self, page: usize, bytes: usize) -> Region {
        Region::new(&self.arena, page * Self::PAGE, bytes).unwrap()
    }

    fn binding(&self, name: &str) -> Binding {
        let x = self.region(0, self.rows * COLUMNS * 4);
        let shape = Shape::new(&[self.rows, COLUMNS]).unwrap();
        Binding {
            model: model(name),
            component: None,
            inputs: vec![Some(Tensor::over(x, DType::F32, shape).unwrap())],
            outputs: vec![Some(self.region(1, Self::PAGE)), Some(self.region(2, Self::PAGE))],
        }
    }

    fn write(&self, start: f32) {
        let values = (0..self.rows * COLUMNS).flat_map(|index| (start + index as f32).to_le_bytes());
        self.region(0, Self::PAGE)
            .copy_from(&values.collect::<Vec<_>>())
            .unwrap();
    }

    /// The factor that `y` was made with, of those with addend 1.
    fn factor(&self, start: f32) -> f32 {
        let mut bytes = vec![0; self.rows * COLUMNS * 4];
        self.region(1, bytes.len()).copy_to(&mut bytes).unwrap();
        let values: Vec<f32> = bytes
            .chunks_exact(4)
            .map(|word| f32::from_le_bytes(word.try_into().unwrap()))
            .collect();
        let factor = (values[0] - 1.0) / start;
        for (index, value) in values.iter().enumerate() {
            assert_eq!(*value, factor * (start + index as f32) + 1.0, "element {index}");
        }
        factor
    }
}

fn ask(
    node: &Node,
    standing: &Standing,
    answers: &Rc<Answers>,
    number: u64,
    class: Class,
) -> Result<(), Error> {
    let terms = Terms {
        class: Some(class),
        ..Terms::default()
    };
    let asker: Rc<dyn Asker> = answers.clone();
    node.ask(standing, terms, &asker, number)
}

#[test]
fn what_is_bound_is_asked_again_and_again_and_answered_in_place() {
    const BOUND: usize = 6;
    const ROUNDS: usize = 20;
    for mode in MODES {
        with_engine(mode, 1, &Folders::new(), |node, folders| async move {
            let serving = json!({ "max_batch_rows": 8, "max_queue_delay_us": 500 });
            ready(&node, &folders, "test/model@1", "a 2\nb 1\nbusy_us 20", serving).await;
            let desks: Vec<Desk> = (0..BOUND).map(|number| Desk::new(1 + number % 3)).collect();
            let bound: Vec<Standing> = desks
                .iter()
                .map(|desk| node.bind(desk.binding("test/model")).unwrap())
                .collect();
            let answers = Rc::<Answers>::default();
            for round in 0..ROUNDS {
                for (number, (desk, standing)) in desks.iter().zip(&bound).enumerate() {
                    desk.write((1 + round + number) as f32);
                    ask(
                        &node,
                        standing,
                        &answers,
                        number as u64,
                        Class::ALL[(number + round) % 4],
                    )
                    .unwrap();
                }
                until(|| answers.0.borrow().len() == BOUND).await;
                for (number, result) in answers.0.take() {
                    let (desk, shapes) = (&desks[number as usize], result.unwrap());
                    assert_eq!(shapes[0].as_ref().unwrap().dims(), [desk.rows, COLUMNS]);
                    assert_eq!(shapes[1].as_ref().unwrap().dims(), [desk.rows]);
                    assert_eq!(desk.factor((1 + round) as f32 + number as f32), 2.0);
                }
            }
            assert_eq!(total(&node, |class| class.completed), (BOUND * ROUNDS) as u64);
        });
    }
}

#[test]
fn a_binding_follows_its_model_and_keeps_none_from_going() {
    with_engine(MODES[0], 2, &Folders::new(), |node, folders| async move {
        ready(&node, &folders, "test/model@1", "a 2\nb 1", json!({})).await;
        let (desk, answers) = (Desk::new(2), Rc::<Answers>::default());
        let standing = node.bind(desk.binding("test/model")).unwrap();
        desk.write(3.0);
        ask(&node, &standing, &answers, 0, Class::Normal).unwrap();
        answers.only().await.unwrap();
        assert_eq!(desk.factor(3.0), 2.0);

        ready(&node, &folders, "test/model@2", "a 5\nb 1", json!({})).await;
        node.activate(&model("test/model@2")).await.unwrap();
        ask(&node, &standing, &answers, 0, Class::Normal).unwrap();
        answers.only().await.unwrap();
        assert_eq!(desk.factor(3.0), 5.0, "the other version is active now");

        // Both go although the binding is there, and without waiting for it.
        node.unregister(&model("test/model")).await.unwrap();
        let gone = ask(&node, &standing, &answers, 0, Class::Normal).unwrap_err();
        assert_eq!(gone.kind(), Kind::NotFound);

        let root = folders.package("test/model", "3", "a 7\nb 1", &json!({}));
        register(&node, None, root).await.unwrap();
        until(|| state(&node, "test/model@3") == Some(mlos_api::LifecycleState::Ready)).await;
        ask(&node, &standing, &answers, 0, Class::Normal).unwrap();
        answers.only().await.unwrap();
        assert_eq!(desk.factor(3.0), 7.0);
    });
}

#[test]
fn what_runs_is_asked_once_cancelled_and_let_go_of() {
    for mode in MODES {
        with_engine(mode, 1, &Folders::new(), |node, folders| async move {
            ready(&node, &folders, "test/slow@1", SLOW, json!({})).await;
            let (desk, answers) = (Desk::new(200), Rc::<Answers>::default());
            desk.write(1.0);
            let standing = node.bind(desk.binding("test/slow")).unwrap();
            ask(&node, &standing, &answers, 1, Class::Batch).unwrap();
            let again = ask(&node, &standing, &answers, 2, Class::Batch).unwrap_err();
            assert_eq!(again.kind(), Kind::Conflict);
            node.cancel(&standing);
            // A run that is not to be suspended may have ended first.
            if let Err(error) = answers.only().await {
                assert_eq!(error.kind(), Kind::Cancelled);
            }
            ask(&node, &standing, &answers, 3, Class::Batch).unwrap();
            let arena = Arc::downgrade(&desk.arena);
            drop((standing, desk));
            answers.only().await.ok();
            until(|| arena.strong_count() == 0).await;
            node.unregister(&model("test/slow@1")).await.unwrap();
        });
    }
}

#[test]
fn what_does_not_fit_is_not_bound() {
    with_engine(MODES[0], 1, &Folders::new(), |node, folders| async move {
        ready(&node, &folders, "test/model@1", "a 2\nb 1\ncolumns 3", json!({})).await;
        let desk = Desk::new(2);
        let refused = |change: &dyn Fn(&mut Binding)| {
            let mut binding = desk.binding("test/model");
            change(&mut binding);
            node.bind(binding).unwrap_err()
        };
        let shaped = |dims: &[usize], dtype| {
            let shape = Shape::new(dims).unwrap();
            let bytes = shape.byte_len(dtype).unwrap();
            Some(Tensor::over(desk.region(0, bytes), dtype, shape).unwrap())
        };
        for (change, kind) in [
            (
                &(|binding: &mut Binding| binding.model = model("test/other")) as &dyn Fn(&mut Binding),
                Kind::NotFound,
            ),
            (
                &|binding| binding.component = Some("encoder".to_owned()),
                Kind::InvalidArgument,
            ),
            (&|binding| binding.inputs[0] = None, Kind::InvalidArgument),
            (
                &|binding| binding.inputs[0] = shaped(&[2, 4], DType::F32),
                Kind::InvalidArgument,
            ),
            (
                &|binding| binding.inputs[0] = shaped(&[2, 3], DType::I32),
                Kind::InvalidArgument,
            ),
            (&|binding| binding.inputs.push(None), Kind::InvalidArgument),
            (&|binding| binding.outputs.truncate(1), Kind::InvalidArgument),
        ] {
            assert_eq!(refused(change).kind(), kind);
        }
        // Too little room for an output is known when the plugin asks for it.
        let mut binding = desk.binding("test/model");
        binding.outputs[0] = Some(desk.region(1, 8));
        let (standing, answers) = (node.bind(binding).unwrap(), Rc::<Answers>::default());
        ask(&node, &standing, &answers, 0, Class::Normal).unwrap();
        let error = answers.only().await.unwrap_err();
        assert_eq!(error.kind(), Kind::TooLarge);
        let text = error.to_string();
        assert!(
            text.contains("needs 24 bytes") && text.contains("has 8"),
            "{text}"
        );
    });
}

/// Panics at the first answer, and keeps the times of the others.
#[derive(Default)]
struct Startled {
    panicked: Cell<bool>,
    totals_ns: RefCell<Vec<u64>>,
}

impl Asker for Startled {
    fn answered(&self, _: u64, outcome: &Outcome<'_>) {
        assert!(self.panicked.replace(true), "startled");
        outcome.result.unwrap();
        self.totals_ns.borrow_mut().push(outcome.timing.total_ns);
    }
}

#[test]
fn a_binding_can_be_asked_again_after_a_panic() {
    for mode in MODES {
        with_engine(mode, 1, &Folders::new(), |node, folders| async move {
            ready(&node, &folders, "test/model@1", "a 2\nb 1", json!({})).await;
            let desk = Desk::new(1);
            let standing = node.bind(desk.binding("test/model")).unwrap();
            let startled = Rc::<Startled>::default();
            let asker: Rc<dyn Asker> = startled.clone();
            // REALTIME is answered before `ask` returns.
            let terms = Terms {
                class: Some(Class::Realtime),
                ..Terms::default()
            };
            for start in [3.0, 4.0, 5.0] {
                desk.write(start);
                node.ask(&standing, terms, &asker, 0).unwrap();
                assert_eq!(desk.factor(start), 2.0);
            }
            assert_eq!(startled.totals_ns.borrow().len(), 2, "one has startled it");
        });
    }
}

/// Panics when the engine has decided so often. A plugin cannot make it panic: what it would unwind through is C.
struct Tripwire(AtomicU32);

impl Subscriber for Tripwire {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "mlos_core::shard::engine"
    }

    fn event(&self, _: &Event<'_>) {
        assert_ne!(self.0.fetch_sub(1, Ordering::Relaxed), 1, "tripped");
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[test]
fn who_asks_while_the_engine_panics_is_told_once() {
    for mode in MODES {
        with_engine(mode, 1, &Folders::new(), |node, folders| async move {
            ready(&node, &folders, "test/model@1", "a 2\nb 1", json!({})).await;
            let desk = Desk::new(1);
            let standing = node.bind(desk.binding("test/model")).unwrap();
            let answers = Rc::<Answers>::default();
            // At its arrival, when nothing has run; and at its end, when the outputs are there.
            for decision in [1, 2] {
                tracing::subscriber::with_default(Tripwire(AtomicU32::new(decision)), || {
                    ask(&node, &standing, &answers, 7, Class::Realtime).unwrap();
                });
                let [(7, Err(error))] = &answers.0.take()[..] else {
                    panic!("it was not told once, at decision {decision}");
                };
                assert_eq!(error.kind(), Kind::Internal);
                assert!(error.to_string().contains("restarted"), "{error}");
            }
            desk.write(3.0);
            ask(&node, &standing, &answers, 8, Class::Realtime).unwrap();
            answers.only().await.unwrap();
            assert_eq!(desk.factor(3.0), 2.0);
        });
    }
}

/// What is asked in one go came together; what is asked after it came when it was asked.
#[test]
fn what_is_asked_later_has_come_later() {
    const PAUSE: Duration = Duration::from_millis(50);
    with_engine(MODES[0], 1, &Folders::new(), |node, folders| async move {
        ready(&node, &folders, "test/model@1", SLOW, json!({})).await;
        let bound = [(); 2].map(|()| node.bind(Desk::new(1).binding("test/model")).unwrap());
        let startled = Rc::<Startled>::default();
        startled.panicked.set(true);
        let asker: Rc<dyn Asker> = startled.clone();
        let terms = Terms {
            class: Some(Class::Realtime),
            ..Terms::default()
        };
        for standing in &bound {
            node.ask(standing, terms, &asker, 0).unwrap();
        }
        node.asked_all();
        let begun = clock::now();
        until(|| clock::now() - begun > PAUSE).await;
        node.ask(&bound[0], terms, &asker, 0).unwrap();
        let totals_ns = startled.totals_ns.take();
        let slow_ns = 500_000;
        assert!(
            totals_ns.iter().all(|total_ns| *total_ns >= slow_ns),
            "{totals_ns:?}: each took its own time"
        );
        assert!(u128::from(totals_ns[2]) < PAUSE.as_nanos(), "{totals_ns:?}");
    });
}
