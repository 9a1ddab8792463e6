//! How often a core that polls the rings looks for I/O.

use std::sync::Arc;

use mlos_shm::Status;

use crate::client::{Client, until};
use crate::host::{Edge, TICK_NS, Watch};

#[test]
fn a_core_that_polls_looks_where_that_would_find_something_and_seldom_else() {
    for (has_news, is_heard, every_ns) in [
        (false, false, 4_000_000..4_200_000),
        (true, false, 100_000..130_000),
        (false, true, 100_000..130_000),
    ] {
        let watch = Arc::new(Watch {
            has_news,
            is_heard,
            ..Watch::default()
        });
        let edge = Edge::polling(watch.clone());
        let mut client = Client::join(&edge.path);
        client.bound(0, "test/echo");
        let begun = watch.looks.lock().unwrap().len();
        until("it has looked often", || {
            assert_eq!(client.ask(0), Status::Ok);
            (watch.looks.lock().unwrap().len() > begun + 20).then_some(())
        });
        let looks = watch.looks.lock().unwrap()[begun..].to_vec();
        for pair in looks.windows(2) {
            let after_ns = (pair[1] - pair[0]) * TICK_NS;
            assert!(every_ns.contains(&after_ns), "{after_ns} ns, not {every_ns:?}");
        }
    }
}
