//! What if it is said twice: in one call, or in two at once that name the same in another order?

use serde_json::json;
use testkit::{App, on_both_engines};

use crate::channel;
use crate::halfway::until_wait_for_a_lock;

async fn whoever_is_named_twice_is_muted_once(app: &App) {
    let [ada, _carl, _eve] = app.people(["ada", "carl", "eve"]).await;
    for named in [
        json!({"target_ids": ["carl", "carl"]}),
        json!({"target_ids": ["carl"], "target_id": "carl"}),
        json!({"target_ids": ["carl", "eve", "carl"], "timeout": 5}),
    ] {
        let answer = ada.post("/moderation/mute", named.clone()).await.ok();
        let mutes = answer["mutes"].as_array().unwrap();
        assert_eq!(mutes.len(), if named["timeout"].is_null() { 1 } else { 2 }, "{named}: {answer}");
    }
    ada.post("/moderation/unmute", json!({"target_ids": ["carl", "carl"]})).await.ok();
    assert_eq!(app.ask("SELECT target_id FROM user_mutes").await, ["eve"]);
}

async fn a_channel_that_is_named_twice_is_muted_once(app: &App) {
    let ada = app.person("ada").await;
    channel(app, "messaging:a", &["ada"]).await;
    channel(app, "messaging:b", &["ada"]).await;
    for cids in [json!(["messaging:a", "messaging:a"]), json!(["messaging:b", "messaging:a", "messaging:b"])] {
        let answer = ada.post("/moderation/mute/channel", json!({"channel_cids": cids})).await.ok();
        let count = if cids.as_array().unwrap().len() == 2 { 1 } else { 2 };
        assert_eq!(answer["channel_mutes"].as_array().unwrap().len(), count, "{cids}");
    }
    let told = app.ask("SELECT type FROM events WHERE type = 'channel.muted'").await;
    assert_eq!(told.len(), 3, "one for each channel and call");
    ada.post("/moderation/unmute/channel", json!({"channel_cids": ["messaging:a", "messaging:a"]})).await.ok();
    assert_eq!(app.ask("SELECT user_id FROM channel_mutes").await.len(), 1);
}

/// Another device has taken it back, or its time is over, before the list of all mutes is read.
async fn a_mute_is_answered_though_it_has_ended_by_then(app: &App) {
    let ada = app.person("ada").await;
    channel(app, "messaging:a", &["ada"]).await;
    app.sql(
        "CREATE FUNCTION over_at_once() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN DELETE FROM channel_mutes WHERE user_id = new.user_id; RETURN NULL; END; $$",
    )
    .await;
    app.sql("CREATE TRIGGER over_at_once AFTER INSERT ON channel_mutes FOR EACH ROW EXECUTE FUNCTION over_at_once()")
        .await;
    let answer = ada.post("/moderation/mute/channel", json!({"channel_cid": "messaging:a"})).await.ok();
    assert_eq!(answer["channel_mute"]["channel"]["cid"], "messaging:a");
    assert_eq!(answer["channel_mute"]["user"]["id"], "ada");
    assert_eq!(answer["channel_mutes"], json!([]));
}

/// One holds what the other waits for, if both take them in the order in which their clients wrote them.
async fn calls_that_name_the_same_in_other_orders_wait_for_each_other_in_one(app: &App) {
    let ada = app.person("ada").await;
    for id in ["a", "b", "c"] {
        channel(app, &format!("messaging:{id}"), &["ada"]).await;
    }
    let prefer = async |ids: &[&str]| {
        let change = |id: &&str| json!({"channel_cid": format!("messaging:{id}"), "chat_level": "mentions"});
        let changes: Vec<_> = ids.iter().map(change).collect();
        ada.post("/push_preferences", json!({"preferences": changes})).await
    };
    prefer(&["a", "b", "c"]).await.ok();
    let mut database = app.database().await;
    let mut third = sqlx::Connection::begin(&mut database).await.unwrap();
    let held = "SELECT FROM push_preferences WHERE channel_id = (SELECT id FROM channels WHERE cid = 'messaging:c') FOR UPDATE";
    sqlx::query(held).execute(&mut *third).await.unwrap();
    let held_up = async {
        until_wait_for_a_lock(app, "1").await;
        let (one, ()) = tokio::join!(prefer(&["a", "b"]), async {
            until_wait_for_a_lock(app, "2").await;
            third.rollback().await.unwrap();
        });
        one
    };
    let (other, one) = tokio::join!(prefer(&["b", "c", "a"]), held_up);
    let (other, one) = (other.ok(), one.ok());
    assert_eq!(other["user_channel_preferences"]["ada"].as_object().unwrap().len(), 3);
    assert_eq!(one["user_channel_preferences"]["ada"].as_object().unwrap().len(), 2);
}

on_both_engines!(
    whoever_is_named_twice_is_muted_once,
    a_channel_that_is_named_twice_is_muted_once,
    a_mute_is_answered_though_it_has_ended_by_then,
    calls_that_name_the_same_in_other_orders_wait_for_each_other_in_one,
);
