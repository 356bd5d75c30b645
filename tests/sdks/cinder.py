"""python-cinderclient, native Cinder v3: a disk, followed by the status of the backup and of the volume."""

import os

import steps
from cinderclient import client, exceptions, shell_utils, utils
from keystoneauth1 import exceptions as keystoneauth
from keystoneauth1 import session, token_endpoint
from keystoneauth1.identity import v3

VERSION = "3.60"

args = steps.arguments(__doc__)


def connect(base_url):
    endpoint = f"{base_url.rstrip('/')}/v3/{args.project}"
    if "OS_AUTH_URL" in os.environ:
        auth = v3.Password(
            auth_url=os.environ["OS_AUTH_URL"],
            username=os.environ["OS_USERNAME"],
            password=os.environ["OS_PASSWORD"],
            user_domain_name=os.environ["OS_USER_DOMAIN_NAME"],
            project_id=args.project,
        )
    else:
        auth = token_endpoint.Token(endpoint, os.environ["OS_TOKEN"])
    return client.Client(VERSION, session=session.Session(auth=auth), endpoint_override=endpoint)


cinder = connect(args.base_url)
volumes = connect(args.volumes_url) if args.volumes_url else cinder


def submit():
    return cinder.restores.restore(args.backup, args.volume, None)


def restore():
    # The order in which the command line does it, and with its own functions. It goes no further without the version
    # document of a Cinder that speaks 3.x; to the library that is all the same.
    try:
        _, newest = client.get_server_version(f"{args.base_url}/v3/{args.project}")
        steps.say("versions", status=newest.get_string())
    except Exception as error:
        steps.say("versions", status="none", **{"class": type(error).__name__})
    volume = utils.find_volume(volumes, args.volume)
    steps.say("volume", status=volume.status, id=volume.id)
    backup = shell_utils.find_backup(cinder, args.backup)
    steps.say("backup", status=backup.status, id=backup.id, volume_id=backup.volume_id)
    accepted = submit()
    steps.say("restore", status="accepted", id=accepted.backup_id, volume_id=accepted.volume_id,
              volume_name=accepted.volume_name)

    def look(step, manager, identity, running):
        def once():
            seen = manager.get(identity)
            return {"status": seen.status, "id": seen.id}

        return steps.follow(args, step, once, running)

    backup = look("backup-wait", cinder.backups, args.backup, ["restoring"])
    volume = look("volume-wait", volumes.volumes, args.volume, ["restoring-backup"])
    return backup == "available" and volume in ("available", "in-use")


steps.run(args, (exceptions.ClientException, keystoneauth.ClientException), restore, submit)
