//! A server for tests.

use super::Sources;
use crate::board::Board;
use crate::checker::CheckCounts;
use crate::counters::fake::FakeCounters;
use crate::metrics::Metrics;
use crate::view::View;
use crate::view::fixtures::FakeDriver;

/// Of the Director d1, with this board, and nothing beside it.
pub(crate) fn sources(board: Board) -> Sources {
    controlled(board).0
}

/// The same, and the handles that change what driver and kernel say.
pub(crate) fn controlled(board: Board) -> (Sources, FakeDriver, FakeCounters) {
    let counters = FakeCounters::default();
    let (fake, driver) = FakeDriver::start(View::default());
    let sources = Sources {
        board,
        metrics: Metrics::new("d1"),
        node_name: "d1".to_owned(),
        driver,
        counters: counters.counters(),
        checks: CheckCounts::default(),
    };
    (sources, fake, counters)
}
