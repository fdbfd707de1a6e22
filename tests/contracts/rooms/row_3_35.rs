//! Every other call of the UI's adapter answers in its shape, and with what is so.

use serde_json::{Value, json};

use super::{Board, Guest, keys, on_both, pluck};

const ROOM_KEYS: &[&str] = &[
    "agent",
    "cid",
    "client",
    "created_at",
    "data",
    "id",
    "messages",
    "name",
    "status",
    "type",
    "url",
    "uuid",
    "visible",
];

async fn rooms(board: &Board) {
    let (ada, grace) = (board.guest("ada"), board.guest("grace"));
    let made = ada.post("/api/rooms/", json!({"name": "Books"})).await.with(201);
    assert_eq!(keys(&made), ROOM_KEYS);
    let uuid = made["uuid"].as_str().unwrap();
    assert_eq!((&made["cid"], &made["type"]), (&json!(format!("messaging:{uuid}")), &json!("messaging")));
    assert_eq!((&made["status"], &made["visible"], &made["client"]), (&json!("active"), &json!(true), &json!(ada.id)));
    grace.say(uuid, "hello").await;
    let room = ada.get(&format!("/api/rooms/{uuid}/")).await.with(200);
    assert_eq!((keys(&room), &room["messages"][0]["text"]), (ROOM_KEYS.to_vec(), &json!("hello")));
    let post = async |call: &str| ada.post(&format!("/api/rooms/{uuid}/{call}/"), json!({})).await.with(200);
    let get = async |call: &str| ada.get(&format!("/api/rooms/{uuid}/{call}/")).await.with(200);
    let whole = async || ada.get(&format!("/api/rooms/{uuid}/")).await.with(200);
    let ok = json!({"status": "ok"});
    assert_eq!(get("count_unread").await, json!({"unread": 1}));
    assert_eq!(post("mark_read").await, ok);
    assert_eq!(get("count_unread").await, json!({"unread": 0}));
    assert_eq!(post("mark_unread").await, ok);
    assert_eq!(get("count_unread").await, json!({"unread": 1}));
    assert!(get("last_read").await["last_read"].is_string());
    let reads = get("read").await;
    assert_eq!(keys(&reads[0]), ["last_read", "unread_messages", "user"]);
    assert_eq!(get("cooldown").await, json!({"cooldown": 0}));
    let config = get("config-state").await;
    assert_eq!(config["attachments"], json!({"acceptedFiles": [], "maxNumberOfFilesPerMessage": 10}));
    assert_eq!((&config["text"], &config["multipleUploads"]), (&json!({"enabled": true}), &json!(true)));
    assert_eq!(config["isUploadEnabled"], true);
    let queried = get("query").await;
    assert_eq!(
        (pluck(&queried["messages"], "text"), queried["members"].as_array().unwrap().len()),
        (vec!["hello".into()], 2)
    );
    assert_eq!(post("archive").await, ok);
    assert_eq!(whole().await["status"], "archived");
    assert_eq!(pluck(&ada.get("/api/rooms/active/").await.with(200), "uuid"), Vec::<String>::new());
    assert_eq!(pluck(&ada.get("/api/rooms/").await.with(200), "uuid"), [uuid]);
    assert_eq!(post("unarchive").await, ok);
    assert_eq!(pluck(&ada.get("/api/rooms/active/").await.with(200), "uuid"), [uuid]);
    assert_eq!(post("hide").await, ok);
    assert_eq!(whole().await["visible"], false);
    assert_eq!(post("show").await, ok);
    assert_eq!(whole().await["visible"], true);
    let recovered = ada.get("/api/recover-state/").await.with(200);
    assert_eq!((pluck(&recovered["rooms"], "uuid"), &recovered["notifications"]), (vec![uuid.into()], &json!([])));
    assert_eq!(ada.get("/api/muted-channels/").await.with(200), json!([]));
    board.stream("ada").post("/moderation/mute/channel", json!({"channel_cid": made["cid"]})).await.ok();
    assert_eq!(pluck(&ada.get("/api/muted-channels/").await.with(200), "uuid"), [uuid]);
    assert_eq!(post("truncate").await, ok);
    assert_eq!(whole().await["messages"], json!([]));
}

async fn messages(board: &Board) {
    let (ada, grace) = (board.guest("ada"), board.guest("grace"));
    let room = board.name("general");
    let sent = ada.say(&room, "hello").await;
    grace.say(&room, "hi").await;
    let path = |call: &str| format!("/api/messages/{}/{call}", sent["id"].as_str().unwrap());
    assert_eq!(grace.get(&path("")).await.with(200), sent);
    assert_eq!(ada.put(&path(""), json!({"text": "hello!"})).await.with(200)["text"], "hello!");
    assert_eq!(grace.put(&path(""), json!({"text": "mine"})).await.refused(), 403);
    assert_eq!(ada.put(&path(""), json!({})).await.with(400), json!({"text": ["This field is required."]}));
    let reaction = grace.post(&path("reactions/"), json!({"type": "love"})).await.with(201);
    assert_eq!(keys(&reaction), ["created_at", "id", "type", "user_id"]);
    assert_eq!(ada.get(&path("reactions/")).await.with(200), json!([reaction]));
    let one = path(&format!("reactions/{}/", reaction["id"].as_str().unwrap()));
    assert_eq!(ada.delete(&one).await.refused(), 403);
    grace.delete(&one).await.with(204);
    assert_eq!(ada.get(&path("reactions/")).await.with(200), json!([]));
    let reply = json!({"text": "reply", "reply_to": sent["id"]});
    grace.post(&format!("/api/rooms/{room}/messages/"), reply).await.with(201);
    assert_eq!(pluck(&ada.get(&path("replies/")).await.with(200), "text"), ["reply"]);
    assert_eq!(pluck(&grace.get("/api/threads/").await.with(200), "id"), [sent["id"].as_str().unwrap()]);
    let pin = ada.post(&path("pin/"), json!({})).await.with(201);
    assert_eq!(pin["pin"]["user_id"], ada.id.as_str());
    let pinned = async || pluck(&ada.get(&format!("/api/rooms/{room}/pinned/")).await.with(200), "id");
    assert_eq!(pinned().await.len(), 1);
    ada.delete(&path("unpin/")).await.with(204);
    assert_eq!(pinned().await.len(), 0);
    let flag = grace.post(&path("flag/"), json!({})).await.with(201);
    assert_eq!((&flag["flag"]["user_id"], flag["flag"]["id"].is_string()), (&json!(grace.id), true));
    let action = grace.post(&path("actions/"), json!({"choice": "yes"})).await.with(201);
    assert_eq!(action["action"]["data"], json!({"choice": "yes"}));
    assert!(ada.delete(&path("")).await.with(200)["deleted_at"].is_string());
    let restored = ada.post(&path("restore/"), json!({})).await.with(200);
    assert_eq!((&restored["deleted_at"], &restored["text"]), (&Value::Null, &json!("hello!")));
    assert_eq!(ada.get("/api/messages/nothing/").await.refused(), 404);
}

async fn people(board: &Board) {
    let (ada, grace) = (board.guest("ada"), board.guest("grace"));
    for guest in [&ada, &grace] {
        guest.post("/api/sync-user/", json!({})).await.ok();
    }
    assert_eq!(ada.get("/api/user/").await.with(200), json!({"id": ada.id, "username": ada.id}));
    let users = ada.get("/api/users/").await.with(200);
    assert!(pluck(&users, "id").contains(&grace.id));
    let ok = json!({"status": "ok"});
    let muted = async || ada.get(&format!("/api/mute-status/{}/", grace.id)).await.with(200);
    assert_eq!(muted().await, json!({"muted": false}));
    assert_eq!(ada.post(&format!("/api/mute/{}/", grace.id), json!({})).await.with(200), ok);
    assert_eq!(muted().await, json!({"muted": true}));
    assert_eq!(ada.get("/api/muted-users/").await.with(200), json!([{"id": grace.id, "username": grace.id}]));
    assert_eq!(ada.post(&format!("/api/unmute/{}/", grace.id), json!({})).await.with(200), ok);
    assert_eq!(muted().await, json!({"muted": false}));
    for path in ["/api/user-agent/", "/api/core-user-agent/"] {
        assert_eq!(ada.get(path).await.with(200), json!({"user_agent": null}));
        for agent in ["one", "two"] {
            assert_eq!(ada.post(path, json!({"user_agent": agent})).await.with(200), ok);
        }
        assert_eq!(ada.get(path).await.with(200), json!({"user_agent": "two"}));
    }
    assert_eq!(ada.get("/api/app-settings/").await.with(200), json!({"file_uploads": true}));
    let said = ada.get("/api/client-id/").await;
    let browser = Guest { cookie: said.cookie.clone(), ..ada.clone() };
    let id = said.with(200);
    assert_eq!(id["client_id"].as_str().unwrap().len(), 32);
    assert_eq!(browser.get("/api/client-id/").await.with(200), id);
    assert_eq!(browser.get("/api/initialized/").await.with(200), json!({"initialized": true}));
    browser.delete("/api/session/").await.with(204);
    assert_eq!(browser.get("/api/disconnected/").await.with(200), json!({"disconnected": true}));
}

async fn things(board: &Board) {
    let (ada, grace) = (board.guest("ada"), board.guest("grace"));
    let poll = ada.post("/api/polls/", json!({"question": "Tea?", "options": ["yes", {"text": "no"}]})).await.with(201);
    let id = poll["poll"]["id"].as_str().unwrap();
    assert_eq!((&poll["poll"]["question"], &poll["poll"]["user_id"]), (&json!("Tea?"), &json!(ada.id)));
    assert_eq!(pluck(&poll["poll"]["options"], "text"), ["yes", "no"]);
    let option = ada.post(&format!("/api/polls/{id}/options/"), json!({"text": "perhaps"})).await.with(201);
    assert_eq!(keys(&option["poll_option"]), ["created_at", "id", "poll_id", "text", "user_id"]);
    assert_eq!(option["poll_option"]["poll_id"], id);
    assert_eq!(pluck(&ada.get("/api/polls/").await.with(200), "id"), [id]);
    assert_eq!(grace.delete(&format!("/api/polls/{id}/")).await.refused(), 404);
    ada.delete(&format!("/api/polls/{id}/")).await.with(204);
    assert_eq!(ada.get("/api/polls/").await.with(200), json!([]));
    assert_eq!(ada.post("/api/polls/", json!({})).await.with(400), json!({"question": ["This field is required."]}));
    let due = json!({"text": "call", "remind_at": "2020-01-01T00:00:00Z"});
    assert_eq!(ada.post("/api/reminders/", due).await.with(201)["reminder"]["text"], "call");
    ada.post("/api/reminders/", json!({"text": "later", "remind_at": "2999-01-01T00:00:00Z"})).await.with(201);
    let notifications = ada.get("/api/notifications/").await.with(200);
    assert_eq!(pluck(&notifications, "text"), ["call"]);
    assert_eq!(keys(&notifications[0]), ["created_at", "id", "text"]);
    assert_eq!(grace.get("/api/notifications/").await.with(200), json!([]));
    let attachment = ada.post("/api/attachments/", json!({"name": "a.png"})).await.with(201);
    assert_eq!(
        (keys(&attachment["attachment"]), &attachment["attachment"]["name"]),
        (vec!["id", "name"], &json!("a.png"))
    );
    let link = ada.post("/api/link-preview/", json!({"url": "https://example.org"})).await.with(200);
    assert_eq!((keys(&link), &link["url"]), (vec!["title", "url"], &json!("https://example.org")));
    assert_eq!(ada.post("/api/link-preview/", json!({})).await.with(400), json!({"error": "url required"}));
}

async fn composer(board: &Board) {
    let ada = board.guest("ada");
    for call in [
        "text-composer",
        "compose",
        "has-sendable-data",
        "composition-is-empty",
        "init-state",
        "state",
        "quoted-message",
        "dispatch-event",
        "context-type",
        "get-client",
        "intro",
        "subarray",
        "listeners",
        "on",
        "off",
        "tag",
        "test",
    ] {
        assert_eq!(ada.post(&format!("/api/{call}/"), json!({"a": 1})).await.with(200), json!({"a": 1}));
        assert_eq!(ada.get(&format!("/api/{call}?a=1")).await.with(200), json!({"a": "1"}));
        assert_eq!(board.stranger(None).get(&format!("/api/{call}/")).await.refused(), 403);
    }
}

on_both!(rooms, messages, people, things, composer);
