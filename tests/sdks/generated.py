"""A client that openapi-python-client generated of the contract, as it came: submit, repeat, wait, list, history, cancel.

Arguments: `restore` or `cancel`, and the URL of the gateway. The generated package is on PYTHONPATH. Lines and exit codes are those of steps.py.
"""

import sys

import httpx

from restore_gateway_client import Client
from restore_gateway_client.api.restores import (
    cancel_restore,
    get_restore,
    list_events,
    list_restores,
    submit_restore,
)
from restore_gateway_client.models import Problem, Restore, RestoreList, RestoreRequest, RestoreStatus
from steps import say

action, gateway, token, project, backup, volume = sys.argv[1:]
# Longer than the gateway waits for the cloud.
client = Client(base_url=gateway, timeout=httpx.Timeout(60))


def submit(key):
    target = {"type": "volume", "volume_id": volume}
    body = RestoreRequest.from_dict({"project_id": project, "source": {"backup_id": backup}, "target": target})
    answer = submit_restore.sync_detailed(client=client, body=body, x_auth_token=token, idempotency_key=key)
    restore = answer.parsed
    assert isinstance(restore, Restore), answer
    return restore


if action == "cancel":
    cancelled = cancel_restore.sync(submit("generated-2").id, client=client)
    assert isinstance(cancelled, Restore), cancelled
    say("cancel", status=cancelled.status.value)
    sys.exit()

first = submit("generated-1")
again = submit("generated-1")
say("submit", id=first.id, replayed=first.replayed)
say("repeat", same=again.id == first.id, replayed=again.replayed)

ended = get_restore.sync(first.id, client=client, x_auth_token=token, prefer="wait=50")
assert isinstance(ended, Restore), ended
say("wait", status=ended.status.value, type=type(ended.target).__name__, ok=ended.status is RestoreStatus.SUCCEEDED)

page = list_restores.sync(client=client, project_id=project, limit=5)
assert isinstance(page, RestoreList), page
say("list", ids=[restore.id for restore in page.restores])
say("events", names=[event.event for event in list_events.sync(first.id, client=client).events])

late = cancel_restore.sync(first.id, client=client)
assert isinstance(late, Problem), late
say("cancel-late", code=late.code, effect=late.effect.value)
