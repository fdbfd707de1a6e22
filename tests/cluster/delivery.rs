//! Messages: from node to node, in order, none lost, none twice.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{App, Ear, Engine, Person};
use tokio::time::Instant;

use crate::{LOBBY, lobby, text, watch};

const EACH: usize = 100;

/// Two people talk at two nodes at the same time; a watcher at each hears all of it in the order of the channel.
async fn all_hear_the_same(app: &App) {
    lobby(app, &["ada", "alan", "grace", "joan"]).await;
    let (ada, alan) = (app.user_at(0, "ada"), app.user_at(1, "alan"));
    let (grace, joan) = (app.user_at(0, "grace"), app.user_at(1, "joan"));
    let (mut here, mut there) = (grace.listen().await, joan.listen().await);
    watch(&grace).await;
    watch(&joan).await;
    tokio::join!(talk(&ada), talk(&alan));
    let order = hear_all(&mut here).await;
    assert_eq!(order, hear_all(&mut there).await, "both hear the same order");
    for name in ["ada", "alan"] {
        let own: Vec<&String> = order.iter().filter(|text| text.starts_with(name)).collect();
        let said: Vec<String> = (0..EACH).map(|number| format!("{name} {number}")).collect();
        assert_eq!(own, said.iter().collect::<Vec<_>>(), "nobody overtakes itself");
    }
    let page = json!({"state": true, "messages": {"limit": 2 * EACH}});
    let state = grace.post("/channels/messaging/lobby/query", page).await.ok();
    let kept: Vec<&str> =
        state["messages"].as_array().unwrap().iter().map(|message| message["text"].as_str().unwrap()).collect();
    assert_eq!(kept, order, "history has the order that was heard");
    for (node, ear) in [&mut here, &mut there].into_iter().enumerate() {
        let again = ear.heard_kinds(&app.server_at(node)).await;
        assert!(!again.contains(&"message.new".to_owned()), "nothing comes twice");
    }
}

async fn talk(person: &Person) {
    for number in 0..EACH {
        person.say(LOBBY, &format!("{} {number}", person.id)).await;
    }
}

async fn hear_all(ear: &mut Ear) -> Vec<String> {
    let mut heard = Vec::new();
    for _ in 0..2 * EACH {
        heard.push(text(&ear.hear("message.new").await).to_owned());
    }
    heard
}

#[tokio::test]
async fn on_redis() {
    let app = App::start_with(Engine::Redis, 2, &[]).await;
    all_hear_the_same(&app).await;
    app.stop().await;
}

#[tokio::test]
async fn on_a_redis_cluster() {
    let app = App::start_with(Engine::RedisCluster, 2, &[]).await;
    all_hear_the_same(&app).await;
    app.stop().await;
}

/// Two nodes that have no bus at all: the log carries everything, late and whole. So it does when Redis is away.
#[tokio::test]
async fn without_a_bus() {
    let app = App::start_with(Engine::Memory, 2, &[]).await;
    all_hear_the_same(&app).await;
    app.stop().await;
}

/// Half of the messages are heard sooner than half a second after they were sent, which is what the log alone would take.
#[tokio::test]
async fn sooner_than_half_a_second() {
    let app = App::start_with(Engine::Redis, 2, &[]).await;
    lobby(&app, &["ada", "grace"]).await;
    let (ada, grace) = (app.user_at(0, "ada"), app.user_at(1, "grace"));
    let mut ear = grace.listen().await;
    watch(&grace).await;
    let mut times = Vec::new();
    for number in 0..31 {
        let start = Instant::now();
        ada.say(LOBBY, &number.to_string()).await;
        ear.hear("message.new").await;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    assert!(times[15] < Duration::from_millis(500), "{times:?}");
    app.stop().await;
}

/// Who is only a member hears the notification at another node, with numbers that are right there.
#[tokio::test]
async fn members_are_told_elsewhere() {
    let app = App::start_with(Engine::Redis, 2, &[]).await;
    lobby(&app, &["ada", "grace"]).await;
    let (ada, grace) = (app.user_at(0, "ada"), app.user_at(1, "grace"));
    let mut ear = grace.listen().await;
    ada.say(LOBBY, "one").await;
    ada.say(LOBBY, "two").await;
    assert_eq!(
        ear.hear("notification.message_new").await["total_unread_count"].as_i64().map(|count| count >= 1),
        Some(true)
    );
    assert_eq!(ear.hear("notification.message_new").await["total_unread_count"], 2);
    // A channel made while one is there is heard of as well.
    let data = json!({"created_by_id": "ada", "members": ["ada", "grace"]});
    app.server().post("/channels/messaging/new/query", json!({"data": data})).await.ok();
    ear.hear("notification.added_to_channel").await;
    ada.say("messaging:new", "three").await;
    let event: Value = ear.hear_where("notification.message_new", |event| event["cid"] == "messaging:new").await;
    assert_eq!(text(&event), "three");
    app.stop().await;
}
