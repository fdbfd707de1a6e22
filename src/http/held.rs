//! A large answer on its way: in pieces, with the turn of whoever asked for it until the last piece is taken.
//!
//! What a reader takes slowly is held for it meanwhile, and a connection for each answer costs nobody anything. So few of one asker's
//! large answers are on their way at the same time (docs/adr/0019). How slowly they may be taken says patience.rs.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use axum::response::Response;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use crate::lanes::Turn;
use crate::limits;

/// The answer, with its turn among those that are not sent yet. One that is not large gives it up at once.
pub fn hold(response: Response, turn: Turn) -> Response {
    let is_small = response.body().size_hint().upper().is_some_and(|bytes| bytes <= limits::ANSWER_BYTES_SMALL);
    if is_small { response } else { response.map(|body| Body::new(Held { body, piece: Bytes::new(), _turn: turn })) }
}

struct Held {
    body: Body,
    /// What has been taken out of the body and not yet been sent.
    piece: Bytes,
    _turn: Turn,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.piece.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(context)).map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => self.piece = data,
                Some(Ok(Err(other))) => return Poll::Ready(Some(Ok(other))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        let length = self.piece.len().min(limits::ANSWER_PIECE_BYTES);
        // Copied: a piece that waits to be written must not hold all the others.
        let piece = Bytes::copy_from_slice(&self.piece.split_to(length));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.piece.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.body.size_hint();
        let piece = self.piece.len() as u64;
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + piece);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + piece);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::response::IntoResponse;
    use futures_util::{FutureExt, StreamExt};

    use super::*;
    use crate::lanes::{Lane, Lanes};

    #[tokio::test]
    async fn a_turn_lasts_until_a_large_answer_is_taken() {
        let lanes: Arc<Lanes> = Arc::default();
        let enter = || lanes.enter(Lane::Presence("ada".into()));
        let bytes: Vec<u8> = (0..1_000_000_u32).map(|number| number as u8).collect();
        let small = hold("small".into_response(), enter().await.unwrap());
        let large = hold(bytes.clone().into_response(), enter().await.unwrap());
        assert_eq!(large.body().size_hint().exact(), Some(bytes.len() as u64));
        let mut sent = Vec::new();
        let mut pieces = large.into_body().into_data_stream();
        while let Some(piece) = pieces.next().await {
            let piece = piece.unwrap();
            assert!(piece.len() <= limits::ANSWER_PIECE_BYTES);
            sent.extend_from_slice(&piece);
            assert!(enter().now_or_never().is_none());
        }
        assert_eq!(sent, bytes);
        drop(pieces);
        assert!(enter().now_or_never().is_some());
        drop(small);
    }
}
