"""otcextensions, CSBS v1: a server, asked about first and followed by its checkpoint item.

The SDK has a service for CSBS and no class in it; its users take the session.
"""

import otc
import steps

PROVIDER = "fc4d5750-22e7-4798-8a46-f48f62c4c1da"

args = steps.arguments(__doc__)
connection = otc.connect(args, "csbs", "data-protect", "v1")
csbs = connection.csbs


def item():
    return otc.json_of(csbs.get(f"/checkpoint_items/{args.backup}"))["checkpoint_item"]


def check():
    target = {"resource_type": "OS::Nova::Server", "resource_id": args.server, "volumes": args.mappings}
    body = {"check_restorable": [{"checkpoint_item_id": args.backup, "target": target}]}
    answer = otc.json_of(csbs.post(f"/providers/{PROVIDER}/resources/action", json=body))
    return answer["restorable"][0]


def submit(checkpoint):
    targets = {"server_id": args.server, "volumes": args.mappings}
    parameters = {"checkpoint_item_id": args.backup, "power_on": True, "targets": targets}
    body = {"restore": {"provider_id": PROVIDER, "checkpoint_id": checkpoint, "parameters": parameters}}
    return otc.json_of(csbs.post("/restores", json=body))["restore"]


def restore():
    found = item()
    steps.say("item", status=found["status"], id=found["id"], checkpoint_id=found["checkpoint_id"])
    verdict = check()
    steps.say("check", status="yes" if verdict["result"] else "no", error=verdict["error_code"])
    accepted = submit(found["checkpoint_id"])
    steps.say("restore", status=accepted["status"], id=accepted["id"])
    begun = []

    def look():
        seen = item()
        # Available means little until it has been something else, or at least has been touched.
        if seen["status"] != "available" or seen["updated_at"] != found["updated_at"]:
            begun[:] = [True]
        status = seen["status"] if begun else "not begun"
        return {"status": status, "id": seen["id"], "fail_op": seen["extend_info"]["fail_op"]}

    last = steps.follow(args, "item", look, ["not begun", "waiting_restore", "restoring"])
    return last == "available" and item()["extend_info"]["fail_op"] != "restore"


steps.run(args, otc.OWN, restore, lambda: submit(args.checkpoint))
