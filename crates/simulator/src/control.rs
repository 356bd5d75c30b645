//! `/_sim/*`: the control API of the simulator for people and tests. It is strict, and never part of the record.

use bytes::Bytes;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::faults::Plan;
use crate::service::Clouds;
use crate::world::{SERVER, World};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    advance_seconds: u32,
}

/// Answers one control call.
pub(crate) fn answer(clouds: &Clouds, method: &Method, path: &str, body: &Bytes) -> Answer {
    let path = path.trim_end_matches('/');
    let result = match (method.as_str(), path) {
        ("GET", "/_sim") => Ok(index()),
        ("GET", "/_sim/restores") => Ok(restores(clouds)),
        ("GET", "/_sim/requests") => Ok(clouds.journal().shown()),
        ("DELETE", "/_sim/requests") => {
            clouds.forget_requests();
            Ok(clouds.journal().shown())
        }
        ("GET", "/_sim/faults") => Ok(clouds.plan().shown()),
        ("POST", "/_sim/faults") => set_plan(clouds, body),
        ("DELETE", "/_sim/faults") => {
            *clouds.plan() = Plan::default();
            Ok(clouds.plan().shown())
        }
        ("GET", "/_sim/world") => Ok(world(clouds)),
        ("POST", "/_sim/world") => change_world(clouds, body),
        ("DELETE", "/_sim/world") => {
            clouds.world().behave(clouds.first.clone());
            Ok(world(clouds))
        }
        ("GET", "/_sim/clock") => Ok(clock(clouds)),
        ("POST", "/_sim/clock") => advance(clouds, body),
        ("DELETE", "/_sim/tokens") => Ok(json!({"revoked": clouds.world().tokens.revoke_issued()})),
        ("POST", "/_sim/reset") => {
            clouds.reset();
            Ok(world(clouds))
        }
        _ => {
            return Answer::json(StatusCode::NOT_FOUND, &json!({"error": "no such control", "see": "/_sim"}));
        }
    };
    match result {
        Ok(body) => Answer::ok(&body),
        Err(why) => Answer::json(StatusCode::BAD_REQUEST, &json!({"error": why})),
    }
}

fn index() -> Value {
    json!({
        "GET /_sim/restores": "what was really applied",
        "GET /_sim/requests": "what arrived, control calls left out; DELETE forgets it",
        "POST /_sim/faults": "sets the fault plan; GET shows it with counts; DELETE clears it",
        "POST /_sim/world": "changes how the clouds behave; GET shows it; DELETE undoes it",
        "POST /_sim/clock": "{\"advance_seconds\": N} moves the clouds' time forward; GET shows it",
        "DELETE /_sim/tokens": "makes every token bad that IAM has issued",
        "POST /_sim/reset": "back to the first world",
    })
}

fn restores(clouds: &Clouds) -> Value {
    let world = clouds.world();
    let now = clouds.clock.now();
    let restores: Vec<Value> = world.restores.iter().map(|restore| restore.truth(now)).collect();
    json!({"restores": restores})
}

fn set_plan(clouds: &Clouds, body: &Bytes) -> Result<Value, String> {
    let plan = Plan::read(body)?;
    let mut current = clouds.plan();
    *current = plan;
    Ok(current.shown())
}

fn world(clouds: &Clouds) -> Value {
    let world = clouds.world();
    let now = clouds.clock.now();
    let volumes: Vec<Value> = world
        .volumes()
        .map(|volume| {
            let status = world.volume_status(&volume, now);
            json!({"id": volume.id, "size_gb": volume.size_gb, "status": status, "server_id": volume.server_id})
        })
        .collect();
    let servers = json!([{"id": SERVER, "status": world.server_status(now)}]);
    let mut shown = json!(world.behaviour);
    shown["present"] = json!({"servers": servers, "volumes": volumes});
    shown
}

fn change_world(clouds: &Clouds, body: &Bytes) -> Result<Value, String> {
    let patch: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    {
        let mut world = clouds.world();
        let changed = world.behaviour.patched(patch)?;
        let unknown = changed.volumes.keys().find(|id| !is_known(&world, id));
        if let Some(id) = unknown {
            return Err(format!("volumes: there is no disk {id:?}"));
        }
        world.behave(changed);
    }
    Ok(self::world(clouds))
}

fn is_known(world: &World, volume_id: &str) -> bool {
    world.volumes().any(|volume| volume.id == volume_id)
}

fn clock(clouds: &Clouds) -> Value {
    json!({"now": clouds.clock.now().to_string(), "ahead_seconds": clouds.clock.ahead_seconds()})
}

fn advance(clouds: &Clouds, body: &Bytes) -> Result<Value, String> {
    let advance: Advance = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    clouds.clock.advance(advance.advance_seconds);
    Ok(clock(clouds))
}
