//! Each part can be switched off by itself, and answers 404 then.

use serde_json::json;
use testkit::Engine;

use super::run_with;

const CALLS: &[(&str, &str)] = &[
    ("ws-auth", "/api/ws-auth/"),
    ("connection-id", "/api/connection-id/"),
    ("draft", "/rooms/messaging:general/draft/"),
    ("config", "/rooms/messaging:general/config/"),
    ("messages", "/api/rooms/messaging:general/messages/"),
    ("members", "/rooms/messaging:general/members"),
    ("adapter", "/api/token/"),
];

#[tokio::test]
async fn one_part_at_a_time() {
    for (off, _) in CALLS.iter().chain(&[("ws", ""), ("editing-audit-state", "")]) {
        run_with(Engine::Memory, 1, &[("MILLRACE_ROOMS__OFF", off)], async |board| {
            let ada = board.guest("ada");
            for (part, path) in CALLS {
                let said = ada.get(path).await;
                assert_eq!(said.status, if part == off { 404 } else { 200 }, "{path} without {off}: {}", said.text);
            }
            let edited = ada.post("/api/editing-audit-state/", json!({})).await.status;
            assert_eq!(edited, if *off == "editing-audit-state" { 404 } else { 200 });
            // A call that is no upgrade: the path is there or it is not.
            assert_eq!(ada.get("/ws/general/").await.refused(), if *off == "ws" { 404 } else { 400 });
        })
        .await;
    }
}

#[tokio::test]
async fn all_of_it() {
    run_with(Engine::Memory, 1, &[("MILLRACE_ROOMS__ENABLED", "false")], async |board| {
        for (_, path) in CALLS {
            assert_eq!(board.guest("ada").get(path).await.refused(), 404, "{path}");
        }
    })
    .await;
}
