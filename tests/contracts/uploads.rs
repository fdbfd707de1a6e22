//! Files and images.

use serde_json::json;
use testkit::{App, Person, on_both_engines};

use crate::lobby;

/// A URL of an answer as a path at this node.
fn path_of(url: &str) -> String {
    let after_host = url.split_once("://").expect("an absolute URL").1;
    after_host[after_host.find('/').expect("a path")..].to_owned()
}

async fn files_are_kept_and_served_safely(app: &App) {
    let ada = app.person("ada").await;
    lobby(app, &["ada"]).await;
    let answer = ada.upload("/channels/messaging/lobby/file", "notes.txt", "text/plain", b"hello file").await.ok();
    let url = answer["file"].as_str().unwrap();
    assert!(url.starts_with("http://"), "{url}");
    // A browser loads it without any header.
    let served = ada.client.send(reqwest::Client::new().get(url)).await.unwrap();
    assert_eq!((served.status, served.text.as_str()), (200, "hello file"));
    assert_eq!(served.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(served.header("content-disposition"), Some("inline; filename*=UTF-8''notes.txt"));
    assert!(served.header("content-security-policy").unwrap().contains("sandbox"));
    let part = ada.client.send(reqwest::Client::new().get(url).header("range", "bytes=6-9")).await.unwrap();
    assert_eq!((part.status, part.text.as_str()), (206, "file"));
    ada.delete(&format!("/channels/messaging/lobby/file?url={url}")).await.ok();
    assert_eq!(ada.client.send(reqwest::Client::new().get(url)).await.unwrap().status, 404);
    assert_eq!(ada.get(&path_of(url)).await.refused(), (404, 16));
}

async fn names_cannot_escape_and_pages_cannot_run(app: &App) {
    let ada = app.person("ada").await;
    lobby(app, &["ada"]).await;
    for (name, mime_type) in [
        ("../../etc/passwd", "text/plain"),
        ("page.html", "text/html"),
        ("pic.svg", "image/svg+xml"),
        ("a\"b; filename=x.svg", "text/plain"),
        ("пример файла.html", "text/html"),
    ] {
        let answer =
            ada.upload("/channels/messaging/lobby/file", name, mime_type, b"<script>alert(1)</script>").await.ok();
        let url = answer["file"].as_str().unwrap();
        let served = ada.client.send(reqwest::Client::new().get(url)).await.unwrap();
        assert_eq!((served.status, served.text.as_str()), (200, "<script>alert(1)</script>"), "{name}");
        assert!(served.header("content-disposition").unwrap().starts_with("attachment"), "{name}");
        assert_eq!(
            (served.header("content-type"), served.header("set-cookie")),
            (Some("application/octet-stream"), None)
        );
    }
    let broken = ada.upload("/channels/messaging/lobby/file", "a\r\nset-cookie: x.txt", "text/plain", b"x").await;
    assert_eq!(broken.refused(), (400, 4));
}

async fn images_are_shown(app: &App) {
    let ada = app.person("ada").await;
    lobby(app, &["ada"]).await;
    let png = b"\x89PNG\r\n\x1a\nnot a whole picture";
    let answer =
        ada.upload("/channels/messaging/lobby/image", "/home/ada/cat.png", "application/octet-stream", png).await.ok();
    let url = answer["file"].as_str().unwrap();
    let served = ada.client.send(reqwest::Client::new().get(url)).await.unwrap();
    assert_eq!(served.header("content-type"), Some("image/png"));
    assert!(served.header("content-disposition").unwrap().starts_with("inline"));
    ada.delete(&format!("/channels/messaging/lobby/image?url={url}")).await.ok();
    let refused = ada.upload("/channels/messaging/lobby/image", "cat.exe", "application/x-msdownload", b"MZ").await;
    assert_eq!(refused.refused(), (400, 4));
}

async fn rules_of_the_app_are_kept(app: &App) {
    let [ada, outsider] = app.people(["ada", "outsider"]).await;
    lobby(app, &["ada"]).await;
    let rules = json!({"file_upload_config": {"blocked_file_extensions": [".exe"], "size_limit": 10}});
    app.server().patch("/app", rules).await.ok();
    let path = "/channels/messaging/lobby/file";
    assert_eq!(ada.upload(path, "x.exe", "application/octet-stream", b"MZ").await.refused(), (400, 4));
    assert_eq!(ada.upload(path, "x.txt", "text/plain", b"more than ten bytes").await.refused(), (413, 22));
    ada.upload(path, "x.txt", "text/plain", b"ten bytes.").await.ok();
    assert_eq!(outsider.upload(path, "x.txt", "text/plain", b"x").await.refused(), (403, 17));
    assert_eq!(ada.post(path, json!({})).await.refused(), (400, 4));
    // A server uploads for somebody.
    let for_ada = Person::new("ada", app.server().client);
    for_ada.upload(path, "y.txt", "text/plain", b"y").await.ok();
    app.server().put("/channeltypes/messaging", json!({"uploads": false})).await.ok();
    assert_eq!(ada.upload(path, "z.txt", "text/plain", b"z").await.refused(), (400, 19));
}

on_both_engines!(
    files_are_kept_and_served_safely,
    names_cannot_escape_and_pages_cannot_run,
    images_are_shown,
    rules_of_the_app_are_kept,
);
