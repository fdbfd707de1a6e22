//! Nobody waits for somebody else while holding a lock. Debug builds look at every read and every call to Redis, so that each
//! test of each verb is a test of this; here is shown that they look.

use millrace::telemetry;
use testkit::App;
use testkit::on_both_engines;

async fn a_question_beside_an_open_transaction_is_noticed(app: &App) {
    let store = app.ctx(0).store.clone();
    let asked = tokio::spawn(telemetry::counting_queries(async move {
        let write = store.write().await.unwrap();
        let found = store.message("any").await;
        drop(write);
        found.map(drop)
    }));
    assert!(asked.await.unwrap_err().is_panic());
}

async fn a_question_after_the_transaction_is_not(app: &App) {
    let store = app.ctx(0).store.clone();
    let asked = telemetry::counting_queries(async move {
        drop(store.write().await.unwrap());
        store.write().await.unwrap().commit().await.unwrap();
        store.message("any").await
    });
    assert!(Box::pin(asked).await.0.unwrap().is_none());
}

on_both_engines!(a_question_beside_an_open_transaction_is_noticed, a_question_after_the_transaction_is_not);
