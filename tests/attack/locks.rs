//! Nobody waits for somebody else while holding a lock. Debug builds look at every read and every call to Redis, so that each
//! test of each verb is a test of this; here is shown that they look.

use millrace::store::events::LogPosition;
use millrace::telemetry;
use sqlx::Connection;
use testkit::{App, PATIENCE, on_both_engines};

use crate::channel;

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

/// What the log's readers see after a position, as texts.
async fn read_on(app: &App, position: LogPosition) -> Vec<String> {
    let entries = app.ctx(0).store.log_after(position, 100).await.unwrap().entries;
    entries.into_iter().filter(|entry| entry.kind == "message.new").filter_map(|entry| entry.subject).collect()
}

/// The log is of one database. Who writes in another one of the same Postgres, for however long, holds none of its readers up.
async fn a_transaction_in_another_database_is_not_waited_for(app: &App) {
    let ada = app.person("ada").await;
    channel(app, "messaging:lobby", &["ada"]).await;
    let mut other = app.other_database().await;
    let mut open = other.begin().await.unwrap();
    sqlx::query("SELECT pg_current_xact_id()").execute(&mut *open).await.unwrap();
    let position = app.ctx(0).store.log_end().await.unwrap();
    ada.say("messaging:lobby", "hello").await;
    // Others of this database end by themselves.
    let read = async { while read_on(app, position).await != ["ada"] {} };
    tokio::time::timeout(PATIENCE, read).await.expect("it is read");
    let after = app.ctx(0).store.log_end().await.unwrap();
    assert!(after > position, "who starts to read now begins behind it");
    open.rollback().await.unwrap();
}

/// One in this database is: what it writes would be skipped.
async fn a_transaction_in_this_database_is_waited_for(app: &App) {
    let ada = app.person("ada").await;
    channel(app, "messaging:lobby", &["ada"]).await;
    channel(app, "messaging:late", &["ada"]).await;
    let position = app.ctx(0).store.log_end().await.unwrap();
    let mut database = app.database().await;
    let mut open = database.begin().await.unwrap();
    let late = "INSERT INTO events (type, audience, subject, body, created_at) VALUES ('message.new', 'none', 'late', '{}', now())";
    sqlx::query(late).execute(&mut *open).await.unwrap();
    ada.say("messaging:lobby", "hello").await;
    assert_eq!(read_on(app, position).await, [""; 0]);
    open.commit().await.unwrap();
    let read = async { while read_on(app, position).await != ["late", "ada"] {} };
    tokio::time::timeout(PATIENCE, read).await.expect("both are read, in the order in which they began");
}

on_both_engines!(
    a_question_beside_an_open_transaction_is_noticed,
    a_question_after_the_transaction_is_not,
    a_transaction_in_another_database_is_not_waited_for,
    a_transaction_in_this_database_is_waited_for,
);
