//! Uploads: multipart, streamed to where they are kept.

use std::iter::successors;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, ready};

use axum::BoxError;
use axum::body::{Body, Bytes};
use axum::extract::multipart::MultipartError;
use axum::extract::{FromRequest, Multipart, Request, State};
use axum::http::StatusCode;
use futures_util::{Stream, TryStreamExt, stream};
use serde::Deserialize;
use wire::Cid;
use wire::app::{Empty, FileUploadResponse};
use wire::user::UserRequest;

use crate::access::Caller;
use crate::chat::uploads::{self, URL_PATH, UploadKind};
use crate::ctx::Ctx;
use crate::error::{Error, Kind, Result};
use crate::http::extract::proof::Proof;
use crate::http::extract::{Auth, CidPath, Params, body};
use crate::http::public_url;
use crate::http::reply::Reply;
use crate::limits;

/// Uploads a file to a channel. Form fields: `file`, and `user` (JSON) from servers, before the file.
#[utoipa::path(post, path = "/channels/{type}/{id}/file/", operation_id = "UploadChannelFile", tag = "uploads",
    request_body(content = Object, content_type = "multipart/form-data"), responses((status = 201, body = FileUploadResponse)))]
pub async fn upload_file(
    State(ctx): State<Arc<Ctx>>,
    Auth(caller): Auth,
    CidPath(cid): CidPath,
    request: Request,
) -> Result<Reply<FileUploadResponse>> {
    upload(&ctx, caller, &cid, UploadKind::File, request).await
}

/// Uploads an image to a channel.
#[utoipa::path(post, path = "/channels/{type}/{id}/image/", operation_id = "UploadChannelImage", tag = "uploads",
    request_body(content = Object, content_type = "multipart/form-data"), responses((status = 201, body = FileUploadResponse)))]
pub async fn upload_image(
    State(ctx): State<Arc<Ctx>>,
    Auth(caller): Auth,
    CidPath(cid): CidPath,
    request: Request,
) -> Result<Reply<FileUploadResponse>> {
    upload(&ctx, caller, &cid, UploadKind::Image, request).await
}

async fn upload(
    ctx: &Arc<Ctx>,
    mut caller: Caller,
    cid: &Cid,
    kind: UploadKind,
    request: Request,
) -> Result<Reply<FileUploadResponse>> {
    let length = request.headers().get("content-length").and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > limits::UPLOAD_FORM_BYTES_MAX) {
        return Err(too_large());
    }
    let admission = uploads::admit(ctx, &caller, cid).await?;
    let base = public_url::base(ctx, request.headers());
    let (parts, body) = request.into_parts();
    let request = Request::from_parts(parts.clone(), body);
    let broken = |error| broken(&error, "the form cannot be read");
    let unread = Unread::default();
    let request = request.map(|body| Body::from_stream(unread.watch(body::chunks(body))));
    let mut form =
        Multipart::from_request(request, ctx).await.map_err(|_| Error::input("an upload is a multipart form"))?;
    let mut received = None;
    for _ in 0..limits::FORM_FIELDS_MAX {
        // A part that was empty gave nothing out.
        unread.forget();
        let Some(mut field) = form.next_field().await.map_err(broken)? else { break };
        unread.forget();
        match field.name().unwrap_or_default() {
            "user" => {
                let mut json = Vec::new();
                while let Some(chunk) = field.chunk().await.map_err(broken)? {
                    unread.forget();
                    json.extend_from_slice(&chunk);
                    if json.len() > limits::FORM_FIELD_BYTES_MAX {
                        return Err(Error::new(Kind::PayloadTooLarge, "the field user is too large"));
                    }
                }
                let user: UserRequest = body::parse(&json)?;
                caller = caller.acting_as(ctx, None, Some(&user)).await?;
            }
            "file" => {
                let name = field.file_name().unwrap_or_default().to_owned();
                let mime_type = field.content_type().map(ToOwned::to_owned);
                let content =
                    field.inspect_ok(|_| unread.forget()).map_err(|error| self::broken(&error, "the upload broke off"));
                if received.is_some() {
                    return Err(Error::input("a form uploads one file"));
                }
                let file = uploads::receive(ctx, kind, &name, mime_type.as_deref(), content);
                received = Some(file.await?);
            }
            _ => {
                while field.chunk().await.map_err(broken)?.is_some() {
                    unread.forget();
                }
            }
        }
    }
    // For whom a server uploads may be said behind the file.
    let received = received.ok_or_else(|| Error::input("the form has no field file"))?;
    Proof::check_again(ctx, &parts).await?;
    let key = uploads::keep(ctx, &caller, &admission, received).await?;
    let path = percent_encoding::utf8_percent_encode(&key, PATH);
    Ok(Reply(FileUploadResponse { file: format!("{base}{URL_PATH}{path}"), thumb_url: None }))
}

/// What a form has taken in and not given out yet: the bytes before its first part, the headers of a part. The reader of
/// forms would keep any number of them.
#[derive(Clone, Default)]
struct Unread(Arc<AtomicUsize>);

impl Unread {
    /// The form gave something out, and with it let go of what was before.
    fn forget(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// The body, a chunk at a time: the reader of forms takes whatever is there before it looks at it.
    fn watch<E: Into<BoxError>>(
        &self,
        body: impl Stream<Item = std::result::Result<Bytes, E>> + Send + 'static,
    ) -> impl Stream<Item = std::result::Result<Bytes, BoxError>> + Send + 'static {
        let (unread, mut body, mut pause) = (self.0.clone(), Box::pin(body), false);
        stream::poll_fn(move |context| {
            if std::mem::take(&mut pause) {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            if unread.load(Ordering::Relaxed) > limits::FORM_HEAD_BYTES_MAX {
                return Poll::Ready(Some(Err("too much before or between the parts of a form".into())));
            }
            let chunk = ready!(body.as_mut().poll_next(context));
            if let Some(Ok(chunk)) = &chunk {
                unread.fetch_add(chunk.len(), Ordering::Relaxed);
                pause = true;
            }
            Poll::Ready(chunk.map(|chunk| chunk.map_err(Into::into)))
        })
    }
}

fn too_large() -> Error {
    Error::new(Kind::PayloadTooLarge, format!("an upload may have {} bytes", limits::UPLOAD_BYTES_MAX))
}

/// A form that is too large, that ends before it is over, or that falls silent.
fn broken(error: &MultipartError, problem: &'static str) -> Error {
    let causes = successors(Some(error as &(dyn std::error::Error + 'static)), |error| error.source());
    let silence = causes.filter_map(|cause| cause.downcast_ref::<Error>()).find(|error| error.kind == Kind::Timeout);
    match silence {
        Some(silence) => silence.clone(),
        None if error.status() == StatusCode::PAYLOAD_TOO_LARGE => too_large(),
        None => Error::input(problem),
    }
}

/// What is escaped in the path of an upload's URL.
const PATH: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'(')
    .add(b')');

/// Which upload.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DeleteUploadParams {
    #[serde(default)]
    url: String,
}

/// Deletes a file of a channel by its URL.
#[utoipa::path(delete, path = "/channels/{type}/{id}/file/", operation_id = "DeleteChannelFile", tag = "uploads",
    params(DeleteUploadParams), responses((status = 200, body = Empty)))]
pub async fn delete_file(
    State(ctx): State<Arc<Ctx>>,
    Auth(caller): Auth,
    CidPath(cid): CidPath,
    Params(params): Params<DeleteUploadParams>,
) -> Result<Reply<Empty>> {
    uploads::delete(&ctx, &caller, Some(&cid), &params.url).await?;
    Ok(Reply(Empty {}))
}

/// Deletes an image of a channel by its URL.
#[utoipa::path(delete, path = "/channels/{type}/{id}/image/", operation_id = "DeleteChannelImage", tag = "uploads",
    params(DeleteUploadParams), responses((status = 200, body = Empty)))]
pub async fn delete_image(
    State(ctx): State<Arc<Ctx>>,
    Auth(caller): Auth,
    CidPath(cid): CidPath,
    Params(params): Params<DeleteUploadParams>,
) -> Result<Reply<Empty>> {
    uploads::delete(&ctx, &caller, Some(&cid), &params.url).await?;
    Ok(Reply(Empty {}))
}
