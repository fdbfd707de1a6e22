//! Who is calling, and what they may do.
//!
//! There is no way to hold a channel without having been allowed to: [`channel`] loads and authorises in one call, and the
//! domain works on the [`ChannelAccess`] that it gives. Facts come from caches ([`caches`]); before anybody is refused, they
//! are read afresh.

pub mod app;
pub mod caches;
pub mod caller;
pub mod capabilities;
pub mod channel;
pub mod grants;
pub mod revocation;
pub mod token;
mod weight;

pub use caches::Caches;
pub use caller::Caller;
pub use channel::{ChannelAccess, channel, channel_by_key, find_channel};
pub use grants::Action;
