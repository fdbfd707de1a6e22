//! The OpenAPI document, written from the code.
//!
//! Handlers carry their own description; this file lists them and adds what all have in common. A test holds the list
//! against the router, and another the document against `openapi/stream.json`.

use std::sync::LazyLock;

use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, ObjectBuilder, Ref, RefOr, Required, ResponseBuilder, Type};
use utoipa::{Modify, OpenApi};

use super::stream::{
    app, channel_types, channels, drafts, events, members, messages, moderation, push, reactions, reads, sync, uploads,
    users,
};
use crate::ws;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Millrace",
        description = "The Stream surface (v1 paths). Every answer is a JSON object with one more key, `duration`. A path works with and without the slash at its end.",
        license(name = "Apache-2.0")
    ),
    paths(
        app::get_app, app::update_app, app::get_rate_limits,
        ws::connect::connect,
        users::update_users, users::update_users_partial, users::query_users, users::create_guest, events::send_user_event,
        channels::query_channels, channels::get_or_create_distinct_channel, channels::get_or_create_channel,
        channels::stop_watching, channels::update_channel, channels::update_channel_partial, channels::delete_channel,
        channels::truncate_channel, channels::hide_channel, channels::show_channel,
        members::query_members, members::update_own_member_partial, members::update_member_partial,
        messages::send_message, messages::get_many_messages, messages::get_message, messages::update_message,
        messages::update_message_partial, messages::delete_message, messages::get_replies,
        reactions::send_reaction, reactions::delete_reaction, reactions::get_reactions,
        reads::mark_read, reads::mark_unread, reads::mark_channels_read, reads::mark_delivered, reads::unread_counts,
        reads::unread_counts_batch,
        drafts::create_draft, drafts::get_draft, drafts::delete_draft, drafts::query_drafts,
        events::send_event, sync::sync,
        moderation::mute_user, moderation::unmute_user, moderation::mute_channel, moderation::unmute_channel,
        push::create_device, push::list_devices, push::delete_device, push::update_push_preferences,
        uploads::upload_file, uploads::upload_image, uploads::delete_file, uploads::delete_image,
        channel_types::list_channel_types, channel_types::create_channel_type, channel_types::get_channel_type,
        channel_types::update_channel_type, channel_types::delete_channel_type,
    ),
    components(schemas(wire::app::ApiError, wire::Event)),
    modifiers(&Common),
)]
pub struct Document;

/// What every operation has: the API key, the token, the parameters of its path, errors.
struct Common;

impl Modify for Common {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        if let Some(components) = document.components.as_mut() {
            let key = |value| SecurityScheme::ApiKey(value);
            components.add_security_scheme("api_key", key(ApiKey::Query(ApiKeyValue::new("api_key"))));
            components.add_security_scheme("token", key(ApiKey::Header(ApiKeyValue::new("Authorization"))));
        }
        let empty: [&str; 0] = [];
        document.security = Some(vec![SecurityRequirement::new("api_key", empty).add("token", empty)]);
        for (path, item) in &mut document.paths.paths {
            let operations = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch];
            for operation in operations.into_iter().flatten() {
                let parameters = operation.parameters.get_or_insert_default();
                parameters.extend(path_parameters(path));
                let error = ResponseBuilder::new()
                    .description("An error, with Stream's code.")
                    .content(
                        "application/json",
                        ContentBuilder::new().schema(Some(Ref::from_schema_name("ApiError"))).build(),
                    )
                    .build();
                operation.responses.responses.insert("default".into(), RefOr::T(error));
            }
        }
    }
}

fn path_parameters(path: &str) -> impl Iterator<Item = RefOr<Parameter>> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).map(|name| {
        let text = ObjectBuilder::new().schema_type(Type::String).build();
        RefOr::T(
            ParameterBuilder::new()
                .name(name)
                .parameter_in(ParameterIn::Path)
                .required(Required::True)
                .schema(Some(text))
                .build(),
        )
    })
}

/// The document as JSON, indented: it is kept in the repository, where people compare it.
pub fn json() -> &'static str {
    static JSON: LazyLock<String> = LazyLock::new(|| Document::openapi().to_pretty_json().unwrap_or_default() + "\n");
    &JSON
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::http::router;

    #[test]
    fn the_document_and_the_router_name_the_same_operations() {
        let document = Document::openapi();
        let mut described = BTreeSet::new();
        for (path, item) in &document.paths.paths {
            let operations = [
                ("GET", &item.get),
                ("PUT", &item.put),
                ("POST", &item.post),
                ("DELETE", &item.delete),
                ("PATCH", &item.patch),
            ];
            for (method, operation) in operations {
                if let Some(operation) = operation {
                    described.insert((
                        method.to_owned(),
                        path.clone(),
                        operation.operation_id.clone().unwrap_or_default(),
                    ));
                }
            }
        }
        let routed: BTreeSet<_> = router::documented()
            .into_iter()
            .map(|(method, path, operation)| (method.to_string(), path.to_owned(), operation.to_owned()))
            .collect();
        assert_eq!(described, routed);
    }

    #[test]
    fn the_document_in_the_repository_is_this_one() {
        let kept = include_str!("../../openapi/stream.json");
        assert!(kept == json(), "openapi/stream.json is out of date: run `make openapi`");
    }
}
