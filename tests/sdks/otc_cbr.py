"""otcextensions, CBR v3: a server or a disk, followed by its operation log."""

import otc
import steps

args = steps.arguments(__doc__)
connection = otc.connect(args, "cbr", "cbr", "v3")
cbr = connection.cbr


def request():
    # The command line sends every one of these, the false and the empty ones too.
    wanted = {"mappings": args.mappings, "power_on": bool(args.server)}
    if args.server:
        wanted["server_id"] = args.server
    if args.volume:
        wanted["volume_id"] = args.volume
    return wanted


def restore():
    # The command line looks for the backup first, by id.
    backup = cbr.find_backup(args.backup, ignore_missing=False)
    steps.say("backup", status=backup.status, id=backup.id, resource_type=backup.resource_type)
    before = {task.id for task in cbr.tasks()}
    accepted = cbr.restore_data(backup=backup.id, **request())
    steps.say("restore", status="accepted", id=accepted.id)
    found = []

    def look():
        for task in cbr.tasks():
            info = task.extra_info.restore if task.extra_info else None
            if task.operation_type == "restore" and task.id not in before and info \
                    and info.backup_id == backup.id:
                found[:] = [task]
                return {"status": task.status, "id": task.id, "progress": task.extra_info.common.progress}
        return None

    last = steps.follow(args, "task", look, ["waiting", "running"])
    task = cbr.get_task(found[0].id)
    steps.say("one-task", status=task.status, id=task.id, error=task.error_info.code, ended_at=task.ended_at)
    return last == "success" and task.status == "success"


steps.run(args, otc.OWN, restore, lambda: cbr.restore_data(backup=args.backup, **request()))
