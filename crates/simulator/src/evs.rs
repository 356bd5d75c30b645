//! Block storage: the read that shows the state of a disk, in Cinder's format.

use http::StatusCode;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::call::Call;
use crate::clock::TimeFormat;
use crate::routes::{Route, get};
use crate::world::{PROJECT, Volume, World, ZONE};

pub(crate) const ROUTES: &[Route] = &[
    get("/v2/{project_id}/volumes", list),
    get("/v3/{project_id}/volumes", list),
    get("/v2/{project_id}/volumes/detail", list),
    get("/v3/{project_id}/volumes/detail", list),
    get("/v2/{project_id}/volumes/{id}", show),
    get("/v3/{project_id}/volumes/{id}", show),
];

fn show(call: &Call<'_>, world: &mut World) -> Answer {
    let id = call.param("id");
    match world.volume(id).filter(|_| call.project() == PROJECT) {
        Some(volume) => Answer::ok(&json!({"volume": shape(world, &volume, call)})),
        None => Answer::fault(StatusCode::NOT_FOUND, &format!("Volume {id} could not be found.")),
    }
}

fn list(call: &Call<'_>, world: &mut World) -> Answer {
    let mine = world.volumes().filter(|_| call.project() == PROJECT);
    let volumes: Vec<Value> = mine.map(|volume| shape(world, &volume, call)).collect();
    Answer::ok(&json!({"volumes": volumes}))
}

fn shape(world: &World, volume: &Volume, call: &Call<'_>) -> Value {
    let attachments: Vec<Value> = volume
        .server_id
        .iter()
        .map(|server_id| {
            json!({
                "server_id": server_id, "attachment_id": volume.id, "id": volume.id, "volume_id": volume.id,
                "device": if volume.bootable { "/dev/vda" } else { "/dev/vdb" }, "host_name": null,
                "attached_at": "2026-10-01T08:00:00.000000",
            })
        })
        .collect();
    let changed = world.restores.iter().rev().find(|restore| restore.touches(&volume.id));
    let updated_at = changed.map_or_else(World::taken_at, |restore| restore.updated_at(call.now));
    json!({
        "id": volume.id, "name": volume.name, "status": world.volume_status(volume, call.now),
        "size": volume.size_gb, "bootable": volume.bootable.to_string(), "attachments": attachments,
        "multiattach": world.is_shared(&volume.id), "shareable": world.is_shared(&volume.id).to_string(),
        "availability_zone": ZONE, "volume_type": "SSD", "encrypted": false, "description": null,
        "snapshot_id": null, "source_volid": null, "metadata": {}, "created_at": "2026-10-01T08:00:00.000000",
        "updated_at": TimeFormat::Micros.write(updated_at), "os-vol-tenant-attr:tenant_id": PROJECT,
        "links": [{"rel": "self", "href": format!("{}/evs{}", call.base_url, call.path)}],
    })
}
