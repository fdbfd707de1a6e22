//! Every route, in one list.
//!
//! Paths end in a slash here; requests without it reach the same handler (middleware/slash.rs). The name of an operation is
//! its name everywhere: OpenAPI operationId, log field, metric label, rate limit, error message.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::handler::Handler;
use axum::http::Method;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::MethodRouter;

use super::middleware::slash::TrailingSlash;
use super::middleware::{cors, observe, own_machine};
use super::stream::{
    app, channel_types, channels, drafts, events, members, messages, moderation, push, reactions, reads, sync, uploads,
    users,
};
use super::{demo, files, health, rooms};
use crate::ctx::Ctx;
use crate::error::{Error, Kind};
use crate::limits;
use crate::ws;

#[derive(Clone)]
struct Route {
    method: Method,
    path: &'static str,
    operation: &'static str,
    handler: MethodRouter<Arc<Ctx>>,
}

macro_rules! routes {
    ($($method:ident $path:literal $operation:ident => $handler:expr;)*) => {
        vec![$(Route {
            method: routes!(@method $method),
            path: $path,
            operation: stringify!($operation),
            handler: axum::routing::$method($handler),
        }),*]
    };
    (@method get) => { Method::GET };
    (@method post) => { Method::POST };
    (@method put) => { Method::PUT };
    (@method patch) => { Method::PATCH };
    (@method delete) => { Method::DELETE };
}

/// Forms are as large as uploads may be; every other body is read within bounds of its own (extract/body.rs).
fn form() -> DefaultBodyLimit {
    DefaultBodyLimit::max(limits::UPLOAD_FORM_BYTES_MAX)
}

/// The Stream surface, v1 paths.
fn stream() -> Vec<Route> {
    routes! {
        get    "/app/"                                       GetApp                     => app::get_app;
        patch  "/app/"                                       UpdateApp                  => app::update_app;
        get    "/rate_limits/"                               GetRateLimits              => app::get_rate_limits;

        get    "/connect/"                                   Connect                    => ws::connect::connect;

        post   "/users/"                                     UpdateUsers                => users::update_users;
        patch  "/users/"                                     UpdateUsersPartial         => users::update_users_partial;
        get    "/users/"                                     QueryUsers                 => users::query_users;
        post   "/guest/"                                     CreateGuest                => users::create_guest;
        post   "/users/{user_id}/event/"                     SendUserCustomEvent        => events::send_user_event;

        post   "/channels/"                                  QueryChannels              => channels::query_channels;
        post   "/channels/{type}/query/"                     GetOrCreateDistinctChannel => channels::get_or_create_distinct_channel;
        post   "/channels/{type}/{id}/query/"                GetOrCreateChannel         => channels::get_or_create_channel;
        post   "/channels/{type}/{id}/stop-watching/"        StopWatchingChannel        => channels::stop_watching;
        post   "/channels/{type}/{id}/"                      UpdateChannel              => channels::update_channel;
        patch  "/channels/{type}/{id}/"                      UpdateChannelPartial       => channels::update_channel_partial;
        delete "/channels/{type}/{id}/"                      DeleteChannel              => channels::delete_channel;
        post   "/channels/{type}/{id}/truncate/"             TruncateChannel            => channels::truncate_channel;
        post   "/channels/{type}/{id}/hide/"                 HideChannel                => channels::hide_channel;
        post   "/channels/{type}/{id}/show/"                 ShowChannel                => channels::show_channel;

        get    "/members/"                                   QueryMembers               => members::query_members;
        patch  "/channels/{type}/{id}/member/"               UpdateOwnMemberPartial     => members::update_own_member_partial;
        patch  "/channels/{type}/{id}/member/{user_id}/"     UpdateMemberPartial        => members::update_member_partial;

        post   "/channels/{type}/{id}/message/"              SendMessage                => messages::send_message;
        get    "/channels/{type}/{id}/messages/"             GetManyMessages            => messages::get_many_messages;
        get    "/messages/{id}/"                             GetMessage                 => messages::get_message;
        post   "/messages/{id}/"                             UpdateMessage              => messages::update_message;
        put    "/messages/{id}/"                             UpdateMessagePartial       => messages::update_message_partial;
        delete "/messages/{id}/"                             DeleteMessage              => messages::delete_message;
        get    "/messages/{id}/replies/"                     GetReplies                 => messages::get_replies;

        post   "/messages/{id}/reaction/"                    SendReaction               => reactions::send_reaction;
        delete "/messages/{id}/reaction/{type}/"             DeleteReaction             => reactions::delete_reaction;
        get    "/messages/{id}/reactions/"                   GetReactions               => reactions::get_reactions;

        post   "/channels/{type}/{id}/read/"                 MarkRead                   => reads::mark_read;
        post   "/channels/{type}/{id}/unread/"               MarkUnread                 => reads::mark_unread;
        post   "/channels/read/"                             MarkChannelsRead           => reads::mark_channels_read;
        post   "/channels/delivered/"                        MarkDelivered              => reads::mark_delivered;
        get    "/unread/"                                    UnreadCounts               => reads::unread_counts;
        post   "/unread_batch/"                              UnreadCountsBatch          => reads::unread_counts_batch;

        post   "/channels/{type}/{id}/draft/"                CreateDraft                => drafts::create_draft;
        get    "/channels/{type}/{id}/draft/"                GetDraft                   => drafts::get_draft;
        delete "/channels/{type}/{id}/draft/"                DeleteDraft                => drafts::delete_draft;
        post   "/drafts/query/"                              QueryDrafts                => drafts::query_drafts;

        post   "/channels/{type}/{id}/event/"                SendEvent                  => events::send_event;
        post   "/sync/"                                      Sync                       => sync::sync;

        post   "/moderation/mute/"                           Mute                       => moderation::mute_user;
        post   "/moderation/unmute/"                         Unmute                     => moderation::unmute_user;
        post   "/moderation/mute/channel/"                   MuteChannel                => moderation::mute_channel;
        post   "/moderation/unmute/channel/"                 UnmuteChannel              => moderation::unmute_channel;

        post   "/devices/"                                   CreateDevice               => push::create_device;
        get    "/devices/"                                   ListDevices                => push::list_devices;
        delete "/devices/"                                   DeleteDevice               => push::delete_device;
        post   "/push_preferences/"                          UpdatePushNotificationPreferences => push::update_push_preferences;

        post   "/channels/{type}/{id}/file/"                 UploadChannelFile          => uploads::upload_file.layer(form());
        post   "/channels/{type}/{id}/image/"                UploadChannelImage         => uploads::upload_image.layer(form());
        delete "/channels/{type}/{id}/file/"                 DeleteChannelFile          => uploads::delete_file;
        delete "/channels/{type}/{id}/image/"                DeleteChannelImage         => uploads::delete_image;

        get    "/channeltypes/"                              ListChannelTypes           => channel_types::list_channel_types;
        post   "/channeltypes/"                              CreateChannelType          => channel_types::create_channel_type;
        get    "/channeltypes/{name}/"                       GetChannelType             => channel_types::get_channel_type;
        put    "/channeltypes/{name}/"                       UpdateChannelType          => channel_types::update_channel_type;
        delete "/channeltypes/{name}/"                       DeleteChannelType          => channel_types::delete_channel_type;
    }
}

/// The rooms surface. Paths of rooms are also served without `/api`.
fn rooms() -> Vec<Route> {
    routes! {
        get    "/api/ws-auth/"                               RoomsWsAuth                => rooms::session::ws_auth;
        get    "/api/connection-id/"                         RoomsConnectionId          => rooms::session::connection_id;
        post   "/api/register-subscriptions/"                RoomsRegisterSubscriptions => rooms::subscriptions::register_subscriptions;
        get    "/api/vapid-public-key/"                      RoomsVapidPublicKey        => rooms::subscriptions::vapid_public_key;
        post   "/api/editing-audit-state/"                   RoomsEditingAuditState     => rooms::editing::editing_audit_state;
        post   "/api/rooms/{room}/draft/"                    RoomsSaveDraft             => rooms::drafts::save;
        get    "/api/rooms/{room}/draft/"                    RoomsGetDraft              => rooms::drafts::get;
        delete "/api/rooms/{room}/draft/"                    RoomsDeleteDraft           => rooms::drafts::delete;
        get    "/api/rooms/{room}/config/"                   RoomsGetConfig             => rooms::config::config;
        get    "/api/rooms/{room}/messages/"                 RoomsGetMessages           => rooms::messages::list;
        post   "/api/rooms/{room}/messages/"                 RoomsSendMessage           => rooms::messages::send;
        get    "/api/rooms/{room}/members/"                  RoomsGetMembers            => rooms::channels::members;
        get    "/ws/{room}/"                                 RoomsConnectRoom           => ws::rooms::room;
        get    "/ws/"                                        RoomsConnect               => ws::rooms::rooms;

        get    "/api/token/"                                 RoomsGetToken              => rooms::session::token;
        get    "/api/refresh-token/"                         RoomsRefreshToken          => rooms::session::refresh_token;
        post   "/api/sync-user/"                             RoomsSyncUser              => rooms::session::sync_user;
        delete "/api/session/"                               RoomsEndSession            => rooms::session::end_session;
        get    "/api/client-id/"                             RoomsClientId              => rooms::session::client_id;
        get    "/api/user/"                                  RoomsGetUser               => rooms::session::user;
        get    "/api/users/"                                 RoomsGetUsers              => rooms::session::users;
        get    "/api/disconnected/"                          RoomsDisconnected          => rooms::session::disconnected;
        get    "/api/initialized/"                           RoomsInitialized           => rooms::session::initialized;
        post   "/api/user-agent/"                            RoomsPutUserAgent          => rooms::session::put_user_agent;
        get    "/api/user-agent/"                            RoomsGetUserAgent          => rooms::session::get_user_agent;
        post   "/api/core-user-agent/"                       RoomsPutCoreUserAgent      => rooms::session::put_core_user_agent;
        get    "/api/core-user-agent/"                       RoomsGetCoreUserAgent      => rooms::session::get_core_user_agent;
        get    "/api/app-settings/"                          RoomsAppSettings           => rooms::session::app_settings;

        get    "/api/rooms/"                                 RoomsList                  => rooms::channels::list;
        post   "/api/rooms/"                                 RoomsCreate                => rooms::channels::create;
        get    "/api/rooms/active/"                          RoomsListActive            => rooms::channels::active;
        get    "/api/rooms/{room}/"                          RoomsGet                   => rooms::channels::get;
        post   "/api/rooms/{room}/mark_read/"                RoomsMarkRead              => rooms::channels::mark_read;
        post   "/api/rooms/{room}/mark_unread/"              RoomsMarkUnread            => rooms::channels::mark_unread;
        post   "/api/rooms/{room}/archive/"                  RoomsArchive               => rooms::channels::archive;
        post   "/api/rooms/{room}/unarchive/"                RoomsUnarchive             => rooms::channels::unarchive;
        post   "/api/rooms/{room}/truncate/"                 RoomsTruncate              => rooms::channels::truncate;
        post   "/api/rooms/{room}/hide/"                     RoomsHide                  => rooms::channels::hide;
        post   "/api/rooms/{room}/show/"                     RoomsShow                  => rooms::channels::show;
        get    "/api/rooms/{room}/count_unread/"             RoomsCountUnread           => rooms::channels::count_unread;
        get    "/api/rooms/{room}/last_read/"                RoomsLastRead              => rooms::channels::last_read;
        get    "/api/rooms/{room}/read/"                     RoomsRead                  => rooms::channels::read;
        get    "/api/rooms/{room}/cooldown/"                 RoomsCooldown              => rooms::channels::cooldown;
        get    "/api/rooms/{room}/config-state/"             RoomsConfigState           => rooms::config::config_state;
        get    "/api/rooms/{room}/pinned/"                   RoomsPinned                => rooms::channels::pinned;
        get    "/api/rooms/{room}/query/"                    RoomsQuery                 => rooms::channels::query_room;
        post   "/api/rooms/{room}/query/"                    RoomsQueryByPost           => rooms::channels::query_room;

        get    "/api/messages/{id}/"                         RoomsGetMessage            => rooms::messages::get;
        put    "/api/messages/{id}/"                         RoomsPutMessage            => rooms::messages::put;
        delete "/api/messages/{id}/"                         RoomsDeleteMessage         => rooms::messages::delete;
        post   "/api/messages/{id}/restore/"                 RoomsRestoreMessage        => rooms::messages::restore;
        get    "/api/messages/{id}/replies/"                 RoomsGetReplies            => rooms::messages::replies;
        get    "/api/messages/{id}/reactions/"               RoomsGetReactions          => rooms::messages::reactions;
        post   "/api/messages/{id}/reactions/"               RoomsSendReaction          => rooms::messages::react;
        delete "/api/messages/{id}/reactions/{reaction}/"    RoomsDeleteReaction        => rooms::messages::unreact;
        post   "/api/messages/{id}/flag/"                    RoomsFlagMessage           => rooms::messages::flag;
        post   "/api/messages/{id}/pin/"                     RoomsPinMessage            => rooms::messages::pin;
        delete "/api/messages/{id}/unpin/"                   RoomsUnpinMessage          => rooms::messages::unpin;
        post   "/api/messages/{id}/actions/"                 RoomsRunAction             => rooms::messages::act;

        get    "/api/polls/"                                 RoomsGetPolls              => rooms::things::polls;
        post   "/api/polls/"                                 RoomsCreatePoll            => rooms::things::create_poll;
        delete "/api/polls/{id}/"                            RoomsDeletePoll            => rooms::things::delete_poll;
        post   "/api/polls/{id}/options/"                    RoomsCreatePollOption      => rooms::things::create_option;
        post   "/api/reminders/"                             RoomsCreateReminder        => rooms::things::create_reminder;
        get    "/api/notifications/"                         RoomsGetNotifications      => rooms::things::notifications;
        get    "/api/threads/"                               RoomsGetThreads            => rooms::things::threads;
        post   "/api/link-preview/"                          RoomsLinkPreview           => rooms::things::link_preview;
        post   "/api/attachments/"                           RoomsCreateAttachment      => rooms::things::create_attachment;

        get    "/api/muted-users/"                           RoomsMutedUsers            => rooms::mutes::muted_users;
        get    "/api/muted-channels/"                        RoomsMutedChannels         => rooms::channels::muted;
        post   "/api/mute/{user}/"                           RoomsMuteUser              => rooms::mutes::mute;
        post   "/api/unmute/{user}/"                         RoomsUnmuteUser            => rooms::mutes::unmute;
        get    "/api/mute-status/{user}/"                    RoomsMuteStatus            => rooms::mutes::mute_status;
        get    "/api/recover-state/"                         RoomsRecoverState          => rooms::channels::recover_state;
    }
    .into_iter()
    .chain(rooms::composer::PATHS.iter().flat_map(|path| {
        let route = |method, handler| Route { method, path, operation: "RoomsComposer", handler };
        [
            route(Method::GET, axum::routing::get(rooms::composer::get)),
            route(Method::POST, axum::routing::post(rooms::composer::post)),
        ]
    }))
    .flat_map(|route| {
        let short = route.path.strip_prefix("/api").filter(|path| path.starts_with("/rooms/"));
        [short.map(|path| Route { path, ..route.clone() }), Some(route)].into_iter().flatten()
    })
    .collect()
}

/// What is not part of any chat surface.
fn house() -> Vec<Route> {
    routes! {
        get    "/files/{key}/{name}/"                        DownloadFile               => files::download;
        get    "/healthz/"                                   Healthz                    => health::healthz;
        get    "/readyz/"                                    Readyz                     => health::readyz;
        get    "/metrics/"                                   Metrics                    => health::metrics;
        get    "/openapi.json/"                              OpenApi                    => health::openapi;
        get    "/"                                           DemoPage                   => demo::page;
        get    "/demo/rooms/"                                RoomsPage                  => rooms::page::page;
        get    "/demo/rooms/{file}/"                         RoomsPageFile              => rooms::page::file;
        get    "/demo/{file}/"                               DemoFile                   => demo::file;
    }
}

/// Operations by path and method.
static OPERATIONS: LazyLock<HashMap<&'static str, Vec<(Method, &'static str)>>> = LazyLock::new(|| {
    let mut operations: HashMap<_, Vec<_>> = HashMap::new();
    for route in stream().into_iter().chain(rooms()).chain(house()) {
        operations.entry(route.path).or_default().push((route.method, route.operation));
    }
    operations
});

/// The operation of a route.
pub fn operation(method: &Method, path: &str) -> Option<&'static str> {
    // HEAD is answered by the handlers of GET.
    let method = if *method == Method::HEAD { &Method::GET } else { method };
    OPERATIONS.get(path)?.iter().find(|(of, _)| of == method).map(|(_, operation)| *operation)
}

/// The names of all operations of the Stream surface, for rate limits.
pub fn operations() -> Vec<&'static str> {
    stream().into_iter().map(|route| route.operation).collect()
}

/// Method, path and name of every documented operation, for the check that the OpenAPI document names the same.
pub fn documented() -> Vec<(Method, &'static str, &'static str)> {
    stream().into_iter().map(|route| (route.method, route.path, route.operation)).collect()
}

/// The service that answers requests.
pub fn service(ctx: Arc<Ctx>) -> TrailingSlash<Router> {
    let mut router = Router::new();
    let settings = &ctx.config.rooms;
    let is_on = |route: &Route| settings.enabled && !settings.off.iter().any(|off| off == rooms::part_of(route.path));
    for route in stream().into_iter().chain(rooms().into_iter().filter(is_on)).chain(house()) {
        router = router.route(route.path, route.handler);
    }
    router = router.fallback(not_found).method_not_allowed_fallback(method_not_allowed);
    if ctx.config.development {
        router = router.layer(from_fn(own_machine::own_machine));
    }
    let router =
        router.layer(from_fn_with_state(ctx.clone(), observe::observe)).layer(from_fn(cors::cors)).with_state(ctx);
    TrailingSlash(router)
}

async fn not_found(request: Request) -> Error {
    Error::not_found(format!("there is no {:?}", request.uri().path()))
}

async fn method_not_allowed(request: Request) -> Error {
    Error::new(Kind::MethodNotAllowed, format!("{} does not take {}", request.uri().path(), request.method()))
}
