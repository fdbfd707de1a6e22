//! A large answer on its way: in pieces, with the turn of whoever asked for it until the last piece is taken.
//!
//! What a reader takes slowly is held for it meanwhile, and a connection for each answer costs nobody anything. So few of one asker's
//! large answers are on their way at the same time, and all together have so many bytes (docs/adr/0019). Rows say little about
//! bytes: one that took no turn before it was made is counted here all the same. How slowly answers may be taken says patience.rs.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use axum::response::Response;
use futures_util::FutureExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use crate::asker::Asker;
use crate::budget::{Budget, Share};
use crate::error::{Error, Kind};
use crate::lanes::{Lane, Lanes, Turn};
use crate::limits;

/// Whose answer it is, for as long as it is on its way.
#[derive(Default)]
pub struct Owner {
    /// `None` for a server, which shares with nobody.
    pub asker: Option<Asker>,
    /// Taken before it was made ([`asker::turn_to_answer`](crate::asker::turn_to_answer)).
    pub turn: Option<Turn>,
}

/// The answer, counted until it is taken. One that is not large is not counted, and one that comes in a stream is never whole in memory.
///
/// # Errors
/// The asker takes too little of what it was given before (9), or the node holds too much.
pub fn hold(lanes: &Arc<Lanes>, unsent: &Arc<Budget>, response: Response, owner: Owner) -> Result<Response, Error> {
    let Some(bytes) = response.body().size_hint().upper().filter(|bytes| *bytes > limits::ANSWER_BYTES_SMALL) else {
        return Ok(response);
    };
    let turn = match owner {
        Owner { turn: Some(turn), .. } => turn,
        Owner { asker: Some(asker), .. } => {
            let free = lanes.enter(Lane::Made(asker)).now_or_never().and_then(Result::ok);
            free.ok_or_else(|| Error::new(Kind::RateLimited, "take the answers that you have asked for first"))?
        }
        Owner { asker: None, .. } => return Ok(response),
    };
    let share = unsent.take(bytes as usize).ok_or_else(|| Error::unavailable("too many answers wait to be taken"))?;
    Ok(response.map(|body| Body::new(Held { body, piece: Bytes::new(), _turn: turn, _share: share })))
}

struct Held {
    body: Body,
    /// What has been taken out of the body and not yet been sent.
    piece: Bytes,
    _turn: Turn,
    _share: Share,
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
    use axum::response::IntoResponse;
    use futures_util::StreamExt;

    use super::*;

    #[tokio::test]
    async fn a_turn_lasts_until_a_large_answer_is_taken() {
        let (lanes, unsent): (Arc<Lanes>, _) = (Arc::default(), Budget::new(1_000_000));
        let enter = || lanes.enter(Lane::Presence("ada".into()));
        let bytes: Vec<u8> = (0..1_000_000_u32).map(|number| number as u8).collect();
        let owner = |turn| Owner { asker: None, turn: Some(turn) };
        let small = hold(&lanes, &unsent, "small".into_response(), owner(enter().await.unwrap())).unwrap();
        let large = hold(&lanes, &unsent, bytes.clone().into_response(), owner(enter().await.unwrap())).unwrap();
        assert_eq!(large.body().size_hint().exact(), Some(bytes.len() as u64));
        assert!(unsent.take(1).is_none());
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
        assert!(enter().now_or_never().is_some() && unsent.take(1).is_some());
        drop(small);
    }

    #[tokio::test]
    async fn what_took_no_turn_is_counted_when_it_is_large() {
        let (lanes, unsent): (Arc<Lanes>, _) = (Arc::default(), Budget::new(usize::MAX));
        let ada = || Owner { asker: Some(Asker::User("ada".into())), turn: None };
        let large = || vec![0_u8; limits::ANSWER_BYTES_SMALL as usize + 1].into_response();
        let mut held: Vec<_> =
            (0..limits::MADE_ANSWERS_UNSENT_MAX).map(|_| hold(&lanes, &unsent, large(), ada()).unwrap()).collect();
        assert_eq!(hold(&lanes, &unsent, large(), ada()).unwrap_err().kind, Kind::RateLimited);
        assert!(hold(&lanes, &unsent, "small".into_response(), ada()).is_ok());
        assert!(hold(&lanes, &unsent, large(), Owner::default()).is_ok(), "a server");
        held.pop();
        assert!(hold(&lanes, &unsent, large(), ada()).is_ok());
    }
}
