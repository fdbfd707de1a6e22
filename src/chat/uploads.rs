//! Files and images that users upload, and how they are served.
//!
//! A file's URL cannot be guessed. What a browser might run (HTML, SVG, scripts) is only ever offered for download, under a
//! type that no browser sniffs and a policy that would not let it run.

use std::ops::Range;
use std::path::PathBuf;
use std::slice;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, pin_mut, stream};
use object_store::buffered::BufWriter;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::io::AsyncWriteExt;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use wire::Cid;
use wire::app::UploadConfig;

use crate::access::{self, Action, Caller, ChannelAccess};
use crate::asker::{self, Asker};
use crate::chat::messages::policy;
use crate::ctx::Ctx;
use crate::error::{Error, Kind, Result};
use crate::lanes::{Crowded, Lane, Place, Turn};
use crate::store::uploads::Upload;
use crate::{ids, limits, outside};

/// What is uploaded decides which of the app's rules apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadKind {
    File,
    Image,
}

/// Extensions that may be shown in a browser, with their types.
const SHOWN: &[(&str, &str)] = &[
    ("avif", "image/avif"),
    ("bmp", "image/bmp"),
    ("flac", "audio/flac"),
    ("gif", "image/gif"),
    ("heic", "image/heic"),
    ("heif", "image/heif"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("m4a", "audio/mp4"),
    ("mov", "video/quicktime"),
    ("mp3", "audio/mpeg"),
    ("mp4", "video/mp4"),
    ("ogg", "audio/ogg"),
    ("png", "image/png"),
    ("txt", "text/plain; charset=utf-8"),
    ("wav", "audio/wav"),
    ("webm", "video/webm"),
    ("webp", "image/webp"),
];

/// Extensions of images (the documented formats).
const IMAGES: &[&str] = &["avif", "bmp", "gif", "heic", "heif", "jpeg", "jpg", "png", "svg", "webp"];

/// A file that has been received and belongs to nobody yet. It is deleted if nobody keeps it.
pub struct Received {
    file: Unkept,
    name: String,
    mime_type: String,
    size_bytes: i64,
}

/// What has been written to the object store and belongs to nothing yet. When it is dropped, because the client hung up or
/// something was wrong, it is taken away again.
struct Unkept {
    objects: Arc<dyn ObjectStore>,
    key: String,
    /// The directory that it has of its own, where uploads are in one: what breaks off leaves it.
    directory: Option<PathBuf>,
    state: Writing,
}

enum Writing {
    Part(Box<BufWriter>),
    /// The end is being written, or has been. A writer that has come so far cannot be told to leave off.
    End(JoinHandle<()>),
    Kept,
}

impl Drop for Unkept {
    /// Best effort: a node that dies here leaves it.
    fn drop(&mut self) {
        let state = std::mem::replace(&mut self.state, Writing::Kept);
        if matches!(state, Writing::Kept) {
            return;
        }
        let (objects, path, directory) = (self.objects.clone(), path_of(&self.key), self.directory.take());
        tokio::spawn(async move {
            match state {
                Writing::Part(mut writer) => drop(writer.abort().await),
                Writing::End(end) => {
                    // What is deleted before it is written stays.
                    let _ = end.await;
                    let _ = objects.delete(&path).await;
                }
                Writing::Kept => {}
            }
            if let Some(directory) = directory {
                let _ = tokio::fs::remove_dir_all(directory).await;
            }
        });
    }
}

/// That somebody may upload to a channel, and that it is their turn: asked before anything of the upload is read.
pub struct Admission {
    access: ChannelAccess,
    _turns: Vec<Turn>,
}

/// May the caller upload here? For whom a server uploads does not matter. Waits while many uploads of the caller are running.
///
/// # Errors
/// The caller may not, could not write what it would attach, uploads are switched off, or too many of the caller's wait.
pub async fn admit(ctx: &Ctx, caller: &Caller, cid: &Cid) -> Result<Admission> {
    let access = access::channel(ctx, caller, cid, Action::UploadAttachment).await?;
    if !access.channel.config.uploads {
        return Err(Error::new(Kind::FeatureOff, "uploads are switched off in this channel"));
    }
    if !caller.is_server() {
        caller.acting()?;
        policy::check_author(&access, caller, ctx.clock.now())?;
    }
    let mut turns = Vec::new();
    if !caller.is_server() {
        turns.push(ctx.lanes.enter(Lane::Uploads(caller.acting()?.id.clone())).await.map_err(crowded)?);
    }
    // A guest waits for nobody who stands still, but for as many guests as an address may have at once.
    if let Some(Asker::Strangers(address)) = asker::current() {
        turns.push(ctx.lanes.enter(Lane::GuestUploads(address)).await.map_err(crowded)?);
    }
    Ok(Admission { access, _turns: turns })
}

fn crowded(_: Crowded) -> Error {
    Error::new(Kind::RateLimited, "too many of your uploads run at once: wait for some of them to end")
}

/// Receives a file into the object store.
///
/// # Errors
/// The app's rules forbid it (4), or it is too large (22).
pub async fn receive(
    ctx: &Ctx,
    kind: UploadKind,
    name: &str,
    mime_type: Option<&str>,
    content: impl Stream<Item = Result<Bytes>>,
) -> Result<Received> {
    let name = clean_name(name)?;
    let app = ctx.caches.app();
    let rules = if kind == UploadKind::Image { &app.image_upload_config } else { &app.file_upload_config };
    let mime_type =
        mime_type.filter(|mime| !mime.is_empty()).unwrap_or("application/octet-stream").to_ascii_lowercase();
    check_rules(rules, kind, &name, &mime_type)?;
    let size_max = if rules.size_limit == 0 { limits::UPLOAD_BYTES_MAX } else { rules.size_limit };

    let key = format!("{}/{}", ids::unguessable(), name_in_key(&name));
    let path = path_of(&key);
    let directory = outside::object_store::directory_of(&ctx.config.uploads, &path);
    let writer = BufWriter::with_capacity(ctx.objects.clone(), path, limits::UPLOAD_PART_BYTES);
    // One part is written while the next one comes.
    let state = Writing::Part(Box::new(writer.with_max_concurrency(1)));
    let mut file = Unkept { objects: ctx.objects.clone(), key, directory, state };
    let size_bytes = file.copy(content, size_max).await?;
    file.end().await?;
    Ok(Received { file, name, mime_type, size_bytes })
}

/// Makes a received file the caller's, and gives back its key: the path of its URL.
///
/// # Errors
/// A server that acts for nobody; a caller who may no longer upload here.
pub async fn keep(ctx: &Ctx, caller: &Caller, admission: &Admission, received: Received) -> Result<String> {
    let Received { mut file, name, mime_type, size_bytes } = received;
    let user_id = caller.acting()?.id.clone();
    admission.access.check_again(ctx).await?;
    let channel_id = Some(admission.access.key());
    let upload = Upload { key: file.key.clone(), channel_id, user_id, name, mime_type, size_bytes };
    ctx.store.insert_upload(&upload).await?;
    file.state = Writing::Kept;
    Ok(upload.key)
}

impl Unkept {
    async fn copy(&mut self, content: impl Stream<Item = Result<Bytes>>, size_max: i64) -> Result<i64> {
        pin_mut!(content);
        let Writing::Part(writer) = &mut self.state else {
            return Err(Error::internal("a file is received once"));
        };
        let mut size = 0;
        while let Some(chunk) = content.next().await {
            let chunk = chunk?;
            size += chunk.len() as i64;
            // What is too much is heard and not kept: a client that is still talking would not hear the refusal.
            if size <= size_max {
                writer.write_all(&chunk).await.map_err(Error::unavailable)?;
            }
        }
        if size > size_max {
            return Err(Error::new(Kind::PayloadTooLarge, format!("an upload may have {size_max} bytes")));
        }
        if size == 0 {
            return Err(Error::input("the uploaded file is empty"));
        }
        Ok(size)
    }

    /// Writes the end, in a task: it is finished though the client hangs up, and what is there can then be taken away.
    async fn end(&mut self) -> Result<()> {
        let Writing::Part(mut writer) = std::mem::replace(&mut self.state, Writing::Kept) else {
            return Err(Error::internal("a file ends once"));
        };
        let (tell, ended) = oneshot::channel();
        self.state = Writing::End(tokio::spawn(async move {
            let _ = tell.send(writer.shutdown().await);
        }));
        ended.await.map_err(Error::internal)?.map_err(Error::unavailable)
    }
}

/// Deletes an upload of the channel by its URL.
///
/// # Errors
/// There is none, or the caller may not.
pub async fn delete(ctx: &Ctx, caller: &Caller, cid: Option<&Cid>, url: &str) -> Result<()> {
    let key = key_of_url(url).ok_or_else(missing)?;
    let upload = ctx.store.upload(&key).await?.ok_or_else(missing)?;
    match cid {
        Some(cid) => {
            let access = access::channel(ctx, caller, cid, Action::ReadChannel).await?;
            if upload.channel_id != Some(access.key()) {
                return Err(missing());
            }
            access.require_with_thing_of(Action::DeleteAttachment, &upload.user_id)?;
            if caller.user_id() != Some(&upload.user_id) {
                policy::check_changes(&access, caller, ctx.clock.now())?;
            }
        }
        None if caller.is_server() || caller.user_id() == Some(&upload.user_id) => {}
        None => return Err(missing()),
    }
    ctx.store.delete_upload(&key).await?;
    match ctx.objects.delete(&path_of(&key)).await {
        Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(Error::unavailable(error)),
    }
}

/// Where the object store keeps what has this key.
fn path_of(key: &str) -> Path {
    key.split('/').collect()
}

/// An upload as it is to be served.
pub struct Served {
    key: String,
    pub name: String,
    pub size: u64,
    pub mime_type: &'static str,
    /// To be shown in the browser, not downloaded.
    pub inline: bool,
}

fn missing() -> Error {
    Error::not_found("there is no such upload")
}

/// Finds an upload.
///
/// # Errors
/// There is none.
pub async fn find(ctx: &Ctx, key: String) -> Result<Served> {
    let upload = ctx.store.upload(&key).await?.ok_or_else(missing)?;
    let shown = SHOWN.iter().find(|(extension, _)| *extension == extension_of(&upload.name));
    Ok(Served {
        key,
        size: upload.size_bytes.unsigned_abs(),
        mime_type: shown.map_or("application/octet-stream", |(_, mime)| mime),
        inline: shown.is_some(),
        name: upload.name,
    })
}

impl Served {
    /// The content, or a part of it that lies within, in pieces. The first one is read now, and each of the others when the one
    /// before it has been taken.
    ///
    /// # Errors
    /// It is gone, or the object store does not answer. Later this ends the stream.
    pub async fn open(&self, ctx: &Ctx, part: Option<Range<u64>>) -> Result<impl Stream<Item = Result<Bytes>> + use<>> {
        let place = ctx.lanes.join(Lane::Downloads).map_err(Error::unavailable)?;
        let left = part.unwrap_or(0..self.size);
        let mut content = Content { objects: ctx.objects.clone(), path: path_of(&self.key), left, place };
        let first = content.piece().await?;
        let others = stream::try_unfold(content, |mut content| async move {
            let piece = content.piece().await?;
            Ok(piece.map(|piece| (piece, content)))
        });
        Ok(stream::iter(first.map(Ok)).chain(others))
    }
}

/// Content on its way to a reader, who may be slow. Nothing is open between two pieces: the door has counted one descriptor
/// for the connection, and not one for a file or a connection to the object store as well.
struct Content {
    objects: Arc<dyn ObjectStore>,
    path: Path,
    /// What has not been read yet.
    left: Range<u64>,
    place: Place,
}

impl Content {
    /// Reads the next piece, unless this was all.
    async fn piece(&mut self) -> Result<Option<Bytes>> {
        if self.left.is_empty() {
            return Ok(None);
        }
        let end = self.left.end.min(self.left.start + limits::DOWNLOAD_PIECE_BYTES);
        let _turn = self.place.turn().await.map_err(Error::unavailable)?;
        // Not `get_range`, which opens a file and then waits for its turn to read it.
        let read = self.objects.get_ranges(&self.path, slice::from_ref(&(self.left.start..end))).await;
        let pieces = read.map_err(|error| match error {
            object_store::Error::NotFound { .. } => missing(),
            error => Error::unavailable(error),
        })?;
        self.left.start = end;
        Ok(pieces.into_iter().next())
    }
}

/// Where uploads are served.
pub const URL_PATH: &str = "/files/";

fn key_of_url(url: &str) -> Option<String> {
    let (_, key) = url.split_once(URL_PATH)?;
    let key = key.split(['?', '#']).next()?;
    let key = percent_encoding::percent_decode_str(key).decode_utf8().ok()?;
    (!key.contains('\0')).then(|| key.into_owned())
}

/// The file's name without its path, without anything that a file system, an object store or a header could mistake.
fn clean_name(name: &str) -> Result<String> {
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let clean: String =
        name.chars().map(|c| if c.is_alphanumeric() || ".-_ ()".contains(c) { c } else { '_' }).collect();
    let clean = clean.trim().trim_start_matches('.').to_owned();
    if clean.is_empty() {
        return Err(Error::input("the uploaded file has no name"));
    }
    if clean.len() > limits::UPLOAD_NAME_BYTES_MAX {
        return Err(Error::input(format!("the name of an upload may have {} bytes", limits::UPLOAD_NAME_BYTES_MAX)));
    }
    Ok(clean)
}

/// As much of the end of a file's name as every file system takes: object stores escape what is beyond ASCII, three bytes for one,
/// and add to it while it is being written.
fn name_in_key(name: &str) -> &str {
    let mut bytes = 0;
    let fits = |(_, c): &(usize, char)| {
        bytes += if c.is_ascii() { 1 } else { 3 * c.len_utf8() };
        bytes <= limits::UPLOAD_KEY_NAME_BYTES_MAX
    };
    let start = name.char_indices().rev().take_while(fits).last().map_or(0, |(start, _)| start);
    &name[start..]
}

fn extension_of(name: &str) -> String {
    name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase()).unwrap_or_default()
}

fn check_rules(rules: &UploadConfig, kind: UploadKind, name: &str, mime_type: &str) -> Result<()> {
    let extension = extension_of(name);
    let names =
        |list: &[String]| list.iter().any(|entry| entry.trim_start_matches('.').eq_ignore_ascii_case(&extension));
    let types = |list: &[String]| list.iter().any(|entry| entry.eq_ignore_ascii_case(mime_type));
    if kind == UploadKind::Image && !IMAGES.contains(&extension.as_str()) && !mime_type.starts_with("image/") {
        return Err(Error::input(format!("{name} is not an image")));
    }
    let allowed = (rules.allowed_file_extensions.is_empty() || names(&rules.allowed_file_extensions))
        && (rules.allowed_mime_types.is_empty() || types(&rules.allowed_mime_types));
    if !allowed || names(&rules.blocked_file_extensions) || types(&rules.blocked_mime_types) {
        return Err(Error::input(format!("files such as {name} may not be uploaded")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_harmless() {
        for (name, clean) in [
            ("photo.jpg", "photo.jpg"),
            ("/home/ada/photo.jpg", "photo.jpg"),
            ("C:\\Users\\ada\\photo.jpg", "photo.jpg"),
            ("../../etc/passwd", "passwd"),
            (".htaccess", "htaccess"),
            ("a\r\nb\"c.txt", "a__b_c.txt"),
            ("Übung (1).pdf", "Übung (1).pdf"),
        ] {
            assert_eq!(clean_name(name).unwrap(), clean);
        }
        for name in ["", "..", "/", "   "] {
            assert!(clean_name(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_name_is_as_long_as_a_file_system_takes() {
        assert_eq!(name_in_key("photo.jpg"), "photo.jpg");
        let long = format!("{}.png", "写".repeat(80));
        let short = name_in_key(&long);
        assert!(long.ends_with(short) && short.ends_with("写.png"));
        assert!(Path::from(short).as_ref().len() <= 250 && Path::from(short).as_ref().len() > 240);
    }

    #[test]
    fn a_key_is_found_in_its_url() {
        assert_eq!(
            key_of_url("http://localhost/files/abc/my%20photo.jpg?Expires=1").as_deref(),
            Some("abc/my photo.jpg")
        );
        assert_eq!(key_of_url("http://localhost/other/abc"), None);
        assert_eq!(key_of_url("http://localhost/files/a%00b/c"), None);
    }

    #[test]
    fn rules_go_by_extension_and_type() {
        let rules = UploadConfig {
            allowed_file_extensions: vec![".pdf".into(), "txt".into()],
            blocked_mime_types: vec!["text/html".into()],
            ..UploadConfig::default()
        };
        let check = |name: &str, mime: &str| check_rules(&rules, UploadKind::File, name, mime);
        assert!(check("a.PDF", "application/pdf").is_ok() && check("a.txt", "text/plain").is_ok());
        assert!(check("a.exe", "application/pdf").is_err() && check("a.txt", "text/html").is_err());
        let none = UploadConfig::default();
        assert!(check_rules(&none, UploadKind::Image, "a.txt", "text/plain").is_err());
        assert!(check_rules(&none, UploadKind::Image, "a.jpg", "application/octet-stream").is_ok());
    }

    #[test]
    fn nothing_that_runs_is_shown() {
        for extension in ["svg", "html", "htm", "xml", "js", "xhtml", "pdf", "swf"] {
            assert!(SHOWN.iter().all(|(shown, _)| *shown != extension), "{extension}");
        }
    }
}
