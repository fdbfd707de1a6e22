//! Canonical paths end in a slash; the same path without it is the same resource, answered directly and never redirected.

use std::task::{Context, Poll};

use axum::extract::Request;
use axum::http::Uri;
use axum::http::uri::PathAndQuery;
use tower::Service;

/// Adds the slash before routing.
#[derive(Clone)]
pub struct TrailingSlash<S>(pub S);

impl<S: Service<Request>> Service<Request> for TrailingSlash<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> S::Future {
        if let Some(uri) = with_slash(request.uri()) {
            *request.uri_mut() = uri;
        }
        self.0.call(request)
    }
}

/// The URI with a slash at the end of its path; nothing if it is there already.
fn with_slash(uri: &Uri) -> Option<Uri> {
    let path = uri.path();
    if path.ends_with('/') {
        return None;
    }
    let path_and_query = match uri.query() {
        Some(query) => format!("{path}/?{query}"),
        None => format!("{path}/"),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(path_and_query).ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_the_path_changes() {
        for (uri, expected) in [
            ("/channels", Some("/channels/")),
            ("/channels/", None),
            ("/users?payload=%7B%22a%22%3A%22/%22%7D", Some("/users/?payload=%7B%22a%22%3A%22/%22%7D")),
            ("/rooms/messaging%3Ax", Some("/rooms/messaging%3Ax/")),
            ("/", None),
        ] {
            let result = with_slash(&uri.parse().unwrap()).map(|uri| uri.to_string());
            assert_eq!(result.as_deref(), expected, "{uri}");
        }
    }
}
