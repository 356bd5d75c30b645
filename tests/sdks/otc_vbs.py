"""otcextensions, VBS v2: a disk, followed by its job.

The SDK has no class for a restore, and its class for a job cannot be fetched; its users take the session, which is
set up for service, project and token.
"""

import otc
import steps
from openstack import exceptions

args = steps.arguments(__doc__)
connection = otc.connect(args, "volume_backup", "vbs", "v2")
vbs = connection.volume_backup


def submit():
    body = {"restore": {"volume_id": args.volume}}
    return otc.json_of(vbs.post(f"/cloudbackups/{args.backup}/restore", json=body))["job_id"]


def restore():
    backup = otc.json_of(vbs.get(f"/backups/{args.backup}"))["backup"]
    steps.say("backup", status=backup["status"], id=backup["id"], volume_id=backup["volume_id"])
    job_id = submit()
    steps.say("restore", status="accepted", id=job_id)
    try:
        steps.say("typed-job", status=vbs.get_job(job_id).status)
    except exceptions.MethodNotSupported as error:
        steps.say("typed-job", status="cannot", message=str(error))

    def look():
        job = otc.json_of(vbs.get(f"/jobs/{job_id}"))
        return {"status": job["status"], "id": job["job_id"], "error": job.get("error_code")}

    return steps.follow(args, "job", look, ["INIT", "RUNNING"]) == "SUCCESS"


steps.run(args, otc.OWN, restore, submit)
