//! Browsers that want to be pushed to.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use wire::push::{PushSubscription, RegisterSubscriptionsRequest};
use wire::{RawObject, Timestamp};

use crate::access::Caller;
use crate::chat::render::People;
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::events::{Audience, Event};
use crate::limits;
use crate::outside::push::are_keys;
use crate::store::push::NewSubscription;

/// Some clients pad, as RFC 8291 does not.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The key that a browser is given when it subscribes (`applicationServerKey`), in base64url without padding. It never changes.
pub fn vapid_public_key(ctx: &Ctx) -> &str {
    ctx.pusher.public_key()
}

/// Registers browsers of the caller. One that is known by its endpoint is replaced, whosever it was; beyond the limit the
/// oldest are dropped. Nothing is registered if one of them is wrong.
///
/// # Errors
/// An endpoint that may not be called, keys that are none, or too much of anything.
pub async fn subscribe(ctx: &Ctx, caller: &Caller, request: RegisterSubscriptionsRequest) -> Result<()> {
    let user = caller.acting()?;
    if request.subscriptions.len() as i64 > limits::PUSH_SUBSCRIPTIONS_MAX {
        return Err(Error::input(format!("a user may have {} subscriptions", limits::PUSH_SUBSCRIPTIONS_MAX)));
    }
    for (name, text) in [("client_id", &request.client_id), ("platform", &request.platform)] {
        let wrong = |text: &String| text.chars().count() > limits::PUSH_CLIENT_CHARS_MAX || text.contains('\0');
        if text.as_ref().is_some_and(wrong) {
            return Err(Error::input(format!("{name} has at most {} characters", limits::PUSH_CLIENT_CHARS_MAX)));
        }
    }
    let subscriptions = request.subscriptions.iter().map(|subscription| checked(ctx, subscription));
    let mut subscriptions = subscriptions.collect::<Result<Vec<_>>>()?;
    // Rows stay locked until the commit: everybody takes them in one order.
    subscriptions.sort_by(|one, other| one.endpoint.cmp(&other.endpoint));
    let mut write = ctx.store.write().await?;
    let (client_id, platform) = (request.client_id.as_deref(), request.platform.as_deref());
    write.put_subscriptions(&user.id, &subscriptions, client_id, platform, limits::PUSH_SUBSCRIPTIONS_MAX).await?;
    write.commit().await?;
    if !subscriptions.is_empty() {
        tell_registered(ctx, &user.id, client_id, platform).await?;
    }
    Ok(())
}

/// The user's other windows hear that a browser is there now.
async fn tell_registered(ctx: &Ctx, user_id: &str, client_id: Option<&str>, platform: Option<&str>) -> Result<()> {
    let mut event = wire::Event::new("push.subscription.registered", ctx.clock.now());
    event.user = Some(People::for_event(ctx, [user_id.to_owned()]).await?.get(user_id));
    let named = [("client_id", client_id), ("platform", platform)].into_iter();
    let named = named.filter_map(|(name, value)| Some((name.to_owned(), value?.into())));
    event.custom = RawObject::new(&named.collect())?;
    ctx.announcer.tell(vec![Event::ephemeral(&event, None, Audience::user(user_id))?]).await;
    Ok(())
}

/// Takes a browser of the caller away. Says whether there was one.
///
/// # Errors
/// A server that named no user.
pub async fn unsubscribe(ctx: &Ctx, caller: &Caller, endpoint: &str) -> Result<bool> {
    let user = caller.acting()?;
    if endpoint.contains('\0') {
        return Ok(false);
    }
    Ok(ctx.store.delete_subscription_of(&user.id, endpoint).await?)
}

fn checked(ctx: &Ctx, subscription: &PushSubscription) -> Result<NewSubscription> {
    let endpoint = &subscription.endpoint;
    if endpoint.len() > limits::PUSH_ENDPOINT_BYTES_MAX || endpoint.contains('\0') {
        return Err(Error::input(format!("endpoint has at most {} bytes", limits::PUSH_ENDPOINT_BYTES_MAX)));
    }
    ctx.pusher.guard().check(endpoint).map_err(|problem| Error::input(format!("endpoint {problem}")))?;
    let decode = |text: &str| BASE64URL.decode(text).unwrap_or_default();
    let (p256dh, auth) = (decode(&subscription.keys.p256dh), decode(&subscription.keys.auth));
    if !are_keys(&p256dh, &auth) {
        return Err(Error::input(
            "keys.p256dh is a point of P-256 in 65 bytes and keys.auth 16 bytes, both in base64url",
        ));
    }
    let expires = subscription.expiration_time.map(|at| Timestamp::from_micros((at * 1_000.0) as i64));
    Ok(NewSubscription { endpoint: endpoint.clone(), p256dh, auth, expires })
}
