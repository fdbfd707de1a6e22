//! Around every request: an id, bounds, a time limit, the envelope of answers and errors, one log line, metrics.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{CONNECTION, CONTENT_TYPE, HeaderName, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use percent_encoding::percent_decode_str;
use wire::app::LimitInfo;

use crate::ctx::Ctx;
use crate::error::{Error, Kind, Result};
use crate::http::error::Envelope;
use crate::http::held::{self, Owner};
use crate::http::reply::JsonBody;
use crate::http::{error, router};
use crate::tasks::Panicked;
use crate::{asker, limits, telemetry};

/// What is known about a request while it is handled.
#[derive(Debug)]
pub struct Facts {
    /// The operation's name, `SendMessage`: the same in OpenAPI, logs, metrics and error messages.
    pub operation: &'static str,
    /// What is left of the rate limit, once it was counted.
    pub limit: OnceLock<LimitInfo>,
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

pub async fn observe(State(ctx): State<Arc<Ctx>>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let path = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let envelope = Envelope::of(request.uri().path());
    let operation = path.as_deref().and_then(|path| router::operation(&method, path)).unwrap_or("Unknown");
    let request_id = request_id(request.headers());
    let facts = Arc::new(Facts { operation, limit: OnceLock::new() });
    request.extensions_mut().insert(facts.clone());
    let handled = async {
        if let Err(error) = check(&request) {
            return (error_response(error), Owner::default());
        }
        let timeout = if operation.starts_with("Upload") { limits::UPLOAD_TIMEOUT } else { limits::REQUEST_TIMEOUT };
        // Dropped by whoever serves the connection when the client hangs up, and here when its time is over: what it has begun
        // is finished all the same.
        let work = asker::unknown(async {
            let response = next.run(request).await;
            (response, Owner { asker: asker::current(), turn: asker::take_unsent() })
        });
        match tokio::time::timeout(timeout, ctx.tasks.finish(work)).await {
            Ok(Ok(answered)) => answered,
            Ok(Err(Panicked)) => (error_response(Error::internal("the handler panicked")), Owner::default()),
            Err(_) => (error_response(Error::new(Kind::Timeout, "the request took too long")), Owner::default()),
        }
    };
    let ((response, owner), queries) = telemetry::counting_queries(handled).await;
    let elapsed = started.elapsed();
    let duration = format!("{:.2}ms", elapsed.as_secs_f64() * 1e3);
    let (response, failure) = complete(response, envelope, &method, operation, &duration);
    let (mut response, failure) = match held::hold(&ctx.lanes, &ctx.unsent, response, owner) {
        Ok(response) => (response, failure),
        Err(error) => complete(error_response(error), envelope, &method, operation, &duration),
    };
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&request_id) {
        headers.insert(REQUEST_ID, id);
    }
    if failure.is_some() && operation.starts_with("Upload") {
        // What is left of the form is not read.
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if let Some(limit) = facts.limit.get() {
        add_limit(headers, limit, failure.as_ref(), ctx.clock.now().seconds());
    }
    record(&method, operation, &response, elapsed, queries, &request_id, failure.as_ref());
    response
}

/// The client's own id for the request if it has a usable one.
fn request_id(headers: &HeaderMap) -> String {
    let given = ["x-request-id", "x-client-request-id"].iter().find_map(|name| headers.get(*name)?.to_str().ok());
    match given {
        Some(id) if (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic()) => id.into(),
        _ => crate::ids::unguessable(),
    }
}

/// What no handler needs to look for: headers that are too large, control characters in paths, which no id has, and NULs in
/// queries, which Postgres cannot hold.
fn check(request: &Request) -> Result<()> {
    if header_bytes(request) > limits::HEADER_BYTES_MAX {
        return Err(Error::new(Kind::HeadersTooLarge, format!("headers may have {} bytes", limits::HEADER_BYTES_MAX)));
    }
    let uri = request.uri();
    if percent_decode_str(uri.path()).any(|byte| byte.is_ascii_control()) {
        return Err(Error::input("the path contains a control character"));
    }
    if uri.query().is_some_and(|query| percent_decode_str(query).any(|byte| byte == 0)) {
        return Err(Error::input("the query contains a NUL"));
    }
    Ok(())
}

fn header_bytes(request: &Request) -> usize {
    let headers = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>();
    headers + request.uri().path_and_query().map_or(0, |path| path.as_str().len())
}

fn error_response(error: Error) -> Response {
    axum::response::IntoResponse::into_response(error)
}

/// Puts the duration into answers and errors into their envelope.
fn complete(
    mut response: Response,
    envelope: Envelope,
    method: &Method,
    operation: &str,
    duration: &str,
) -> (Response, Option<Error>) {
    if let Some(error) = response.extensions_mut().remove::<Error>() {
        let (status, json) = error::worded(envelope, &error, method, operation, duration);
        *response.status_mut() = status;
        *response.body_mut() = Body::from(json);
        response.headers_mut().insert(CONTENT_TYPE, JSON);
        return (response, Some(error));
    }
    if let Some(JsonBody(mut json)) = response.extensions_mut().remove::<JsonBody>() {
        json.pop();
        if json.len() > 1 {
            json.push(b',');
        }
        json.extend_from_slice(b"\"duration\":\"");
        json.extend_from_slice(duration.as_bytes());
        json.extend_from_slice(b"\"}");
        *response.body_mut() = Body::from(json);
        response.headers_mut().insert(CONTENT_TYPE, JSON);
        // Everything that is posted is answered with 201, as clients of the hosted service know it (docs/compat/quirks.md).
        if *method == Method::POST && response.status() == StatusCode::OK {
            *response.status_mut() = StatusCode::CREATED;
        }
    }
    (response, None)
}

fn add_limit(headers: &mut HeaderMap, limit: &LimitInfo, failure: Option<&Error>, now: i64) {
    headers.insert(LIMIT, limit.limit.into());
    headers.insert(REMAINING, limit.remaining.into());
    headers.insert(RESET, limit.reset.into());
    if failure.is_some_and(|error| error.kind == Kind::RateLimited) {
        headers.insert(RETRY_AFTER, (limit.reset - now).max(1).into());
    }
}

fn record(
    method: &Method,
    operation: &'static str,
    response: &Response,
    elapsed: std::time::Duration,
    queries: u32,
    request_id: &str,
    failure: Option<&Error>,
) {
    let status = response.status().as_u16();
    metrics::counter!("millrace_http_requests_total", "operation" => operation, "status" => status_label(status))
        .increment(1);
    metrics::histogram!("millrace_http_request_seconds", "operation" => operation).record(elapsed);
    let ms = elapsed.as_secs_f64() * 1e3;
    let Some(error) = failure else {
        tracing::info!(%method, operation, status, ms, queries, request_id, "request");
        return;
    };
    let kind = error.kind.entry().name;
    metrics::counter!("millrace_errors_total", "kind" => kind).increment(1);
    let reason = &error.message;
    match error.cause() {
        Some(cause) if status >= 500 => {
            tracing::error!(%method, operation, status, ms, queries, request_id, kind, %reason, %cause, at = %error.at(), "request");
        }
        _ => tracing::info!(%method, operation, status, ms, queries, request_id, kind, %reason, "request"),
    }
}

/// Statuses as labels, from the closed set of those that are answered.
fn status_label(status: u16) -> &'static str {
    match status {
        101 => "101",
        200 => "200",
        201 => "201",
        204 => "204",
        206 => "206",
        400 => "400",
        401 => "401",
        403 => "403",
        404 => "404",
        405 => "405",
        408 => "408",
        413 => "413",
        416 => "416",
        429 => "429",
        431 => "431",
        500 => "500",
        503 => "503",
        _ => "other",
    }
}
