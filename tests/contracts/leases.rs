//! Numbers of nodes, beneath the surface: one holder at a time, and never the same span twice.

use std::time::Duration;

use testkit::{App, on_both_engines};

use millrace::engine::Hold;

const LIFE: Duration = Duration::from_secs(1);

async fn a_number_has_one_holder(app: &App) {
    let leases = &app.ctx(0).engine.leases;
    let hold = async |number, holder: &str, from| leases.hold(number, holder, from, LIFE).await;
    assert_eq!(hold(7, "ada", 1_000).await, Hold::Mine { floor: 0, ceiling: 2_000 });
    assert_eq!(hold(7, "grace", 1_000).await, Hold::Taken);
    assert_eq!(hold(8, "grace", 1_000).await, Hold::Mine { floor: 0, ceiling: 2_000 });
    // Held again it reaches further, and never less far.
    assert_eq!(hold(7, "ada", 1_500).await, Hold::Mine { floor: 2_000, ceiling: 2_500 });
    assert_eq!(hold(7, "ada", 900).await, Hold::Mine { floor: 2_500, ceiling: 2_500 });
    // When it is free, the next one begins where the last one could have been, whatever its clock says.
    let next = loop {
        match hold(7, "grace", 500).await {
            Hold::Taken => tokio::task::yield_now().await,
            next => break next,
        }
    };
    assert_eq!(next, Hold::Mine { floor: 2_500, ceiling: 3_500 });
    assert_eq!(hold(7, "ada", 2_000).await, Hold::Taken);
}

on_both_engines!(a_number_has_one_holder);
