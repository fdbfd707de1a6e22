//! Phones that users register for push, as Stream's clients do. They are kept and listed; no provider can be configured, so
//! nothing is sent to them. Browsers have web push instead (push.rs).

use std::collections::HashMap;

use wire::push::CreateDeviceRequest;
use wire::user::Device as Shown;

use crate::access::Caller;
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::limits;
use crate::store::devices::Device;

const PROVIDERS: &[&str] = &["apn", "firebase", "huawei", "xiaomi"];

/// Registers a device of the caller. One that is registered stays as it is; beyond the limit the oldest is dropped.
///
/// # Errors
/// An id that cannot be one, an unknown provider, or a name of a provider: none is configured.
pub async fn create_device(ctx: &Ctx, caller: &Caller, request: CreateDeviceRequest) -> Result<()> {
    let user = caller.acting()?;
    // In JSON a control character has six bytes.
    let odd = |id: &String, bytes_max| id.len() > bytes_max || id.chars().any(char::is_control);
    if request.id.is_empty() || odd(&request.id, limits::DEVICE_ID_BYTES_MAX) {
        return Err(Error::input(format!("id has 1 to {} bytes", limits::DEVICE_ID_BYTES_MAX)));
    }
    if !PROVIDERS.contains(&request.push_provider.as_str()) {
        return Err(Error::input(format!("push_provider is one of {}", PROVIDERS.join(", "))));
    }
    if let Some(name) = request.push_provider_name.filter(|name| !name.is_empty()) {
        return Err(Error::input(format!("there is no push provider named {name:?}")));
    }
    let hardware_id = request.hardware_id.filter(|id| !id.is_empty());
    if hardware_id.as_ref().is_some_and(|id| odd(id, limits::HARDWARE_ID_BYTES_MAX)) {
        return Err(Error::input(format!("hardware_id has at most {} bytes", limits::HARDWARE_ID_BYTES_MAX)));
    }
    let device = Device {
        user_id: user.id.clone(),
        id: request.id,
        push_provider: request.push_provider,
        hardware_id,
        voip: request.voip_token,
        created_at: ctx.clock.now(),
    };
    Ok(ctx.store.insert_device(&device, limits::DEVICES_MAX).await?)
}

/// The caller's devices, the oldest first.
///
/// # Errors
/// A server that named no user.
pub async fn list_devices(ctx: &Ctx, caller: &Caller) -> Result<Vec<Shown>> {
    let user = &caller.acting()?.id;
    Ok(devices_of(ctx, std::slice::from_ref(user)).await?.remove(user).unwrap_or_default())
}

/// Takes a device of the caller away. One that is not there is gone already.
///
/// # Errors
/// A server that named no user, or no id.
pub async fn delete_device(ctx: &Ctx, caller: &Caller, id: &str) -> Result<()> {
    let user = caller.acting()?;
    if id.is_empty() || id.contains('\0') {
        return Err(Error::input("id must name a device"));
    }
    Ok(ctx.store.delete_device(&user.id, id).await?)
}

/// The devices of users.
///
/// # Errors
/// Postgres.
pub async fn devices_of(ctx: &Ctx, user_ids: &[String]) -> Result<HashMap<String, Vec<Shown>>> {
    let mut devices: HashMap<String, Vec<Shown>> = HashMap::new();
    if user_ids.is_empty() {
        return Ok(devices);
    }
    for device in ctx.store.devices(user_ids).await? {
        devices.entry(device.user_id.clone()).or_default().push(Shown {
            id: device.id,
            push_provider: device.push_provider,
            user_id: device.user_id,
            hardware_id: device.hardware_id,
            voip: device.voip,
            created_at: device.created_at,
        });
    }
    Ok(devices)
}
