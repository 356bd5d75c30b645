"""python-karborclient, CSBS v1 as Karbor's own API: a server, followed by its restore.

With OS_AUTH_URL through a keystoneauth session, without it by a token and an endpoint, as its command line does with
--os-auth-token and --karbor-url.
"""

import os

import steps
from karborclient import client
from karborclient.common.apiclient import exceptions
from keystoneauth1 import exceptions as keystoneauth
from keystoneauth1 import session
from keystoneauth1.identity import v3

PROVIDER = "fc4d5750-22e7-4798-8a46-f48f62c4c1da"

args = steps.arguments(__doc__)
endpoint = f"{args.base_url}/v1/{args.project}"
if "OS_AUTH_URL" in os.environ:
    password = v3.Password(
        auth_url=os.environ["OS_AUTH_URL"],
        username=os.environ["OS_USERNAME"],
        password=os.environ["OS_PASSWORD"],
        user_domain_name=os.environ["OS_USER_DOMAIN_NAME"],
        project_id=args.project,
    )
    karbor = client.Client(
        "1", endpoint, session=session.Session(auth=password), service_type="data-protect"
    )
else:
    karbor = client.Client("1", endpoint, token=os.environ["OS_TOKEN"])


def submit():
    targets = {"server_id": args.server, "volumes": args.mappings}
    parameters = {"checkpoint_item_id": args.backup, "power_on": True, "targets": targets}
    # The library wants all five; its command line gives None for a target and credentials that are not there.
    return karbor.restores.create(PROVIDER, args.checkpoint, None, parameters, {})


def restore():
    accepted = submit()
    steps.say("restore", status=accepted.status, id=accepted.id)

    def look():
        seen = karbor.restores.get(accepted.id)
        return {"status": seen.status, "id": seen.id, "resources_status": seen.resources_status}

    return steps.follow(args, "poll", look, ["in_progress", "started"]) == "success"


steps.run(args, (exceptions.ClientException, keystoneauth.ClientException), restore, submit)
