//! In development the secret is one that everybody knows, so that any page in a browser on this machine could sign a token and call.
//! Programs of this machine may, and pages that came from it. Pages of others may not, whether they say who they are (`Origin`,
//! `Sec-Fetch-Site`) or come under a name of their own that means this machine (`Host`).

use axum::extract::Request;
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::error::Error;
use crate::http::host;

pub async fn own_machine(request: Request, next: Next) -> Response {
    if is_welcome(request.headers()) {
        next.run(request).await
    } else {
        let reason =
            "a node with development keys answers pages of this machine only: open it as localhost, or set keys";
        Error::not_allowed(reason).into_response()
    }
}

/// Does a call come from a program of this machine, or from a page of it?
pub fn is_welcome(headers: &HeaderMap) -> bool {
    let says = |name: &str, word: &str| headers.get(name).is_some_and(|value| value.as_bytes() == word.as_bytes());
    // To follow a link is no call.
    let foreign_call = says("sec-fetch-site", "cross-site") && !says("sec-fetch-mode", "navigate");
    host::of(headers).is_none_or(host::is_fixed)
        && host::of_page(headers).is_none_or(host::is_own_machine)
        && !foreign_call
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_welcome_with(headers: &[(&'static str, &str)]) -> bool {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        is_welcome(&headers.collect())
    }

    #[test]
    fn pages_of_others_are_not_welcome() {
        for headers in [
            &[][..],
            &[("host", "127.0.0.1:8000")],
            &[("host", "10.0.2.2:8000")],
            &[("host", "localhost:8000"), ("origin", "http://localhost:3000"), ("sec-fetch-site", "same-site")],
            &[("host", "localhost:8000"), ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")],
        ] {
            assert!(is_welcome_with(headers), "{headers:?}");
        }
        for headers in [
            &[("host", "evil.example:8000")][..],
            &[("host", "localhost:8000"), ("origin", "https://evil.example")],
            &[("host", "localhost:8000"), ("origin", "null")],
            &[("host", "localhost:8000"), ("origin", "http://192.168.1.5:3000")],
            &[("host", "localhost:8000"), ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")],
        ] {
            assert!(!is_welcome_with(headers), "{headers:?}");
        }
    }
}
