//! What an upload may cost, and what is left of one that breaks off.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use reqwest::Method;
use serde_json::json;
use testkit::{App, Engine, PATIENCE, Person, on_both_engines};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::{begin, channel};

const PATH: &str = "/channels/messaging/room/file";

async fn uploads_are_as_large_as_documented(app: &App) {
    let ada = app.person("ada").await;
    channel(app, "messaging:room", &["ada"]).await;
    let content: Vec<u8> = (0..8 * 1024 * 1024_u32).map(|number| number as u8).collect();
    let url = ada.upload(PATH, "large.bin", "application/octet-stream", &content).await.ok()["file"].clone();
    let served = reqwest::get(url.as_str().unwrap()).await.unwrap().bytes().await.unwrap();
    assert!(served == content, "it comes back as it was");

    app.server().patch("/app", json!({"file_upload_config": {"size_limit": 3 * 1024 * 1024}})).await.ok();
    assert_eq!(ada.upload(PATH, "large.bin", "application/octet-stream", &content).await.refused(), (413, 22));
    // What is refused leaves nothing; the first one is there.
    while files(&app.data_dir().join("uploads")) > 1 {
        tokio::task::yield_now().await;
    }
}

/// An upload that a client has begun, and which is being written.
async fn begun(app: &App, person: &Person, bytes: usize) -> TcpStream {
    begin(app, person, Method::POST, PATH, "multipart/form-data; boundary=b", bytes).await
}

const FILE_FOLLOWS: &[u8] = b"--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"x.bin\"\r\n\r\n";

/// Sends until there are so many files.
async fn send_until(files_wanted: usize, stream: &mut TcpStream, uploads: &Path) {
    stream.write_all(FILE_FOLLOWS).await.unwrap();
    while files(uploads) < files_wanted {
        stream.write_all(&vec![0; 1024 * 1024]).await.unwrap();
    }
}

/// Waits until uploads have left nothing, no directory either.
async fn until_empty(uploads: &Path) {
    let empty = async {
        while entries(uploads).next().is_some() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, empty).await.expect("no file, and no directory");
}

/// A client that hangs up in the middle leaves nothing.
async fn an_upload_that_breaks_off_leaves_nothing(app: &App) {
    let ada = app.person("ada").await;
    channel(app, "messaging:room", &["ada"]).await;
    let uploads = app.data_dir().join("uploads");
    let mut stream = begun(app, &ada, 50_000_000).await;
    send_until(1, &mut stream, &uploads).await;
    drop(stream);
    until_empty(&uploads).await;
}

/// Nor does one whose end the object store does not take: here because there is something else in its place.
async fn an_upload_that_cannot_be_finished_leaves_nothing(app: &App) {
    let ada = app.person("ada").await;
    channel(app, "messaging:room", &["ada"]).await;
    let uploads = app.data_dir().join("uploads");
    let content = vec![0; 6 * 1024 * 1024];
    let end = b"\r\n--b--\r\n";
    let mut stream = begun(app, &ada, FILE_FOLLOWS.len() + content.len() + end.len()).await;
    stream.write_all(FILE_FOLLOWS).await.unwrap();
    stream.write_all(&content).await.unwrap();
    while files(&uploads) == 0 {
        tokio::task::yield_now().await;
    }
    let own = entries(&uploads).next().unwrap().path();
    std::fs::create_dir_all(own.join("x.bin").join("in the way")).unwrap();
    stream.write_all(end).await.unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.unwrap();
    assert_eq!(&status[9..], b"503");
    until_empty(&uploads).await;
}

/// An upload that is larger than what is on its way between a node and a reader, and where it is served.
async fn uploaded(app: &App, person: &Person) -> (Vec<u8>, String) {
    channel(app, "messaging:room", &[&person.id]).await;
    let content: Vec<u8> =
        (0..32 * 1024 * 1024_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let answer = person.upload(PATH, "large.bin", "application/octet-stream", &content).await.ok();
    (content, answer["file"].as_str().unwrap().to_owned())
}

/// A download whose reader has taken the head of the answer and a little of the content.
async fn slow_download(app: &App, url: &str) -> TcpStream {
    let path = url.strip_prefix(&app.base(0)).unwrap();
    let mut stream = TcpStream::connect(app.base(0).strip_prefix("http://").unwrap()).await.unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut begin = [0; 2_000];
    stream.read_exact(&mut begin).await.unwrap();
    assert!(begin.starts_with(b"HTTP/1.1 200"));
    stream
}

/// How many uploads this process has open.
fn open_files(uploads: &Path) -> usize {
    let descriptors = entries(Path::new("/proc/self/fd"));
    descriptors.filter(|entry| std::fs::read_link(entry.path()).is_ok_and(|file| file.starts_with(uploads))).count()
}

/// A connection is one descriptor, as the door has counted it: no file waits for whoever takes nothing.
async fn slow_downloads_hold_no_file(app: &App) {
    let ada = app.person("ada").await;
    let (content, url) = uploaded(app, &ada).await;
    let uploads = app.data_dir().join("uploads").canonicalize().unwrap();
    let mut readers = Vec::new();
    for _ in 0..20 {
        readers.push(slow_download(app, &url).await);
    }
    let none_open = async {
        while open_files(&uploads) > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, none_open).await.expect("no file is open while nobody reads");
    let mut rest = Vec::new();
    readers.pop().unwrap().read_to_end(&mut rest).await.unwrap();
    assert!(content.ends_with(&rest) && rest.len() + 2_000 > content.len(), "it goes on where it was");
}

/// What is deleted is not served any further, and not as if it had ended.
async fn a_download_of_what_is_deleted_breaks_off(app: &App) {
    let ada = app.person("ada").await;
    let (content, url) = uploaded(app, &ada).await;
    let mut reader = slow_download(app, &url).await;
    ada.delete(&format!("{PATH}?url={url}")).await.ok();
    let mut rest = Vec::new();
    let _ = reader.read_to_end(&mut rest).await;
    assert!(rest.len() < content.len() - 2_000, "{}", rest.len());
    let again = reqwest::get(&url).await.unwrap();
    assert_eq!(again.status(), 404);
}

/// Whose file is gone though it is known is told so, and not in the middle of an answer.
async fn a_file_that_is_gone_is_not_found(app: &App) {
    let ada = app.person("ada").await;
    channel(app, "messaging:room", &["ada"]).await;
    let url = ada.upload(PATH, "five.txt", "text/plain", b"12345").await.ok()["file"].clone();
    let own = entries(&app.data_dir().join("uploads")).next().unwrap().path();
    std::fs::remove_dir_all(own).unwrap();
    assert_eq!(reqwest::get(url.as_str().unwrap()).await.unwrap().status(), 404);
}

/// Each upload holds memory: of one user's a few run at the same time, and the others wait for them.
async fn uploads_of_one_user_wait_for_each_other(app: &App) {
    let [ada, grace] = app.people(["ada", "grace"]).await;
    channel(app, "messaging:room", &["ada", "grace"]).await;
    let uploads = app.data_dir().join("uploads");
    let mut running = Vec::new();
    for number in 1..=4 {
        let mut stream = begun(app, &ada, 50_000_000).await;
        send_until(number, &mut stream, &uploads).await;
        running.push(stream);
    }
    let again = app.user_at(0, "ada");
    let waiting =
        tokio::spawn(async move { again.upload(PATH, "x.bin", "application/octet-stream", b"x").await.answer.status });
    grace.upload(PATH, "x.bin", "application/octet-stream", b"x").await.ok();
    assert!(!waiting.is_finished());
    drop(running.pop());
    assert_eq!(waiting.await.unwrap(), 201);
}

/// File systems count bytes, and object stores escape what is beyond ASCII.
async fn long_names_are_kept(app: &App) {
    let ada = app.person("ada").await;
    channel(app, "messaging:room", &["ada"]).await;
    let name = format!("{}.txt", "a".repeat(251));
    let url = ada.upload(PATH, &name, "text/plain", b"written").await.ok()["file"].clone();
    ada.delete(&format!("{PATH}?url={url}", url = url.as_str().unwrap())).await.ok();
    let name = format!("{}.txt", "写".repeat(80));
    let url = ada.upload(PATH, &name, "text/plain", b"written").await.ok()["file"].clone();
    let served = reqwest::get(url.as_str().unwrap()).await.unwrap();
    let disposition = served.headers()["content-disposition"].to_str().unwrap().to_owned();
    let escaped = percent_encoding::utf8_percent_encode(&name, percent_encoding::NON_ALPHANUMERIC).to_string();
    assert!(disposition.contains(escaped.split("%2E").next().unwrap()), "{disposition}");
    assert_eq!(served.text().await.unwrap(), "written");
    ada.delete(&format!("{PATH}?url={url}", url = url.as_str().unwrap())).await.ok();
    let left = std::fs::read_dir(app.data_dir().join("uploads")).unwrap().count();
    assert_eq!(left, 0, "no file, and no directory");
}

/// Whoever may not upload is told before it sends anything, and what is around the parts of a form has a bound.
async fn an_upload_is_refused_before_it_is_kept(app: &App) {
    let [ada, outsider] = app.people(["ada", "outsider"]).await;
    channel(app, "messaging:room", &["ada"]).await;
    let preamble = "x".repeat(1024 * 1024);
    let header = format!("--b\r\nx-long: {preamble}");
    for (person, body, status) in [(&outsider, "", 403), (&ada, &*preamble, 400), (&ada, &*header, 400)] {
        let mut stream = begun(app, person, 50_000_000).await;
        let (mut reader, mut writer) = stream.split();
        let mut answer = Vec::new();
        // The answer comes though the form goes on.
        let write = async {
            let _ = writer.write_all(body.as_bytes()).await;
            std::future::pending::<()>().await;
        };
        let read = async {
            while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
                assert!(reader.read_buf(&mut answer).await.unwrap() > 0);
            }
        };
        tokio::select! {
            () = read => {}
            () = write => {}
        }
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        assert!(answer.contains("connection: close"), "{answer}");
    }
    // An empty part, one that nobody knows, and then a file.
    let form = reqwest::multipart::Form::new()
        .text("empty", "")
        .text("other", "x".repeat(100_000))
        .part("file", reqwest::multipart::Part::bytes(vec![0; 1024 * 1024]).file_name("x.bin"));
    let request = ada.client.request(Method::POST, PATH).multipart(form);
    assert_eq!(ada.client.send(request).await.unwrap().status, 201);
}

fn entries(directory: &Path) -> impl Iterator<Item = std::fs::DirEntry> {
    std::fs::read_dir(directory).into_iter().flatten().flatten()
}

/// Files in a directory and below.
fn files(directory: &Path) -> usize {
    entries(directory).map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { 1 }).sum()
}

async fn ranges_at_the_end_are_not_faults(app: &App) {
    let ada = app.person("ada").await;
    channel(app, "messaging:room", &["ada"]).await;
    let answer = ada.upload(PATH, "five.txt", "text/plain", b"12345").await.ok();
    let url = answer["file"].as_str().unwrap();
    for (range, status, content_range, text) in [
        ("bytes=4-", 206, Some("bytes 4-4/5"), "5"),
        ("bytes=-2", 206, Some("bytes 3-4/5"), "45"),
        ("bytes=-9", 206, Some("bytes 0-4/5"), "12345"),
        ("bytes=1-99999999999999999999999", 206, Some("bytes 1-4/5"), "2345"),
        ("bytes=0-1,3-4", 200, None, "12345"),
        ("bytes=x", 200, None, "12345"),
    ] {
        let served = ada.client.send(reqwest::Client::new().get(url).header("range", range)).await.unwrap();
        assert_eq!(
            (served.status, served.header("content-range"), served.text.as_str()),
            (status, content_range, text),
            "{range}"
        );
    }
    for range in ["bytes=5-", "bytes=9-10", "bytes=-0", "bytes=99999999999999999999999-"] {
        let served = ada.client.send(reqwest::Client::new().get(url).header("range", range)).await.unwrap();
        assert_eq!((served.status, served.header("content-range")), (416, Some("bytes */5")), "{range}");
        assert_eq!(served.code(), 4);
    }
}

#[tokio::test]
async fn uploads_are_the_nodes_alone() {
    let app = App::start(Engine::Memory).await;
    let uploads = std::fs::metadata(app.data_dir().join("uploads")).unwrap();
    assert_eq!(uploads.permissions().mode() & 0o777, 0o700);
    app.stop().await;
}

on_both_engines!(
    uploads_are_as_large_as_documented,
    an_upload_that_breaks_off_leaves_nothing,
    an_upload_that_cannot_be_finished_leaves_nothing,
    slow_downloads_hold_no_file,
    a_download_of_what_is_deleted_breaks_off,
    a_file_that_is_gone_is_not_found,
    an_upload_is_refused_before_it_is_kept,
    uploads_of_one_user_wait_for_each_other,
    long_names_are_kept,
    ranges_at_the_end_are_not_faults,
);
