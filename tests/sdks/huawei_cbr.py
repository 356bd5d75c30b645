"""huaweicloudsdkcbr, CBR v3, signed with an access key: a server or a disk, followed by its operation log."""

import os

import steps
from huaweicloudsdkcbr.v1 import (
    BackupRestore,
    BackupRestoreReq,
    BackupRestoreServerMapping,
    CbrClient,
    ListOpLogsRequest,
    RestoreBackupRequest,
    ShowBackupRequest,
    ShowOpLogRequest,
)
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.exceptions.exceptions import SdkException

args = steps.arguments(__doc__)
key = BasicCredentials(
    os.environ["HUAWEICLOUD_SDK_AK"], os.environ["HUAWEICLOUD_SDK_SK"], args.project
)
cbr = CbrClient.new_builder().with_credentials(key).with_endpoint(args.base_url).build()


def submit():
    mappings = [BackupRestoreServerMapping(**pair) for pair in args.mappings] or None
    wanted = BackupRestore(
        mappings=mappings,
        power_on=True if args.server else None,
        server_id=args.server,
        volume_id=args.volume,
    )
    body = BackupRestoreReq(restore=wanted)
    return cbr.restore_backup(RestoreBackupRequest(backup_id=args.backup, body=body))


def restore():
    backup = cbr.show_backup(ShowBackupRequest(backup_id=args.backup)).backup
    steps.say("backup", status=backup.status, id=backup.id, resource_type=backup.resource_type)
    logs = ListOpLogsRequest(
        operation_type="restore", resource_id=backup.resource_id, limit=100, offset=0
    )
    before = {log.id for log in cbr.list_op_logs(logs).operation_logs}
    accepted = submit()
    steps.say("restore", status=accepted.status_code)
    found = []

    def look():
        for log in cbr.list_op_logs(logs).operation_logs:
            info = log.extra_info.restore
            if log.id not in before and info and info.backup_id == args.backup:
                found[:] = [log.id]
                return {"status": log.status, "id": log.id, "progress": log.extra_info.common.progress}
        return None

    last = steps.follow(args, "log", look, ["waiting", "running"])
    log = cbr.show_op_log(ShowOpLogRequest(operation_log_id=found[0])).operation_log
    steps.say("one-log", status=log.status, id=log.id, error=log.error_info.code, ended_at=log.ended_at)
    return last == "success" and log.status == "success"


steps.run(args, (SdkException,), restore, submit)
