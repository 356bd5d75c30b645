"""How users of otcextensions come to a connection: a clouds.yaml in keyword form.

With OS_AUTH_URL the way goes through Keystone (with OS_PASSWORD, or else OS_TOKEN); without it the token is used as it
is. The endpoint of the one service is overridden, as clouds.yaml allows for each.
"""

import os

import openstack
import otcextensions.sdk
from keystoneauth1 import exceptions as keystoneauth
from openstack import exceptions

OWN = (exceptions.SDKException, keystoneauth.ClientException)


def connect(args, service, catalog_type, version):
    override = f"{args.base_url}/{version}/%(project_id)s"
    if "OS_AUTH_URL" in os.environ:
        auth = {"auth_url": os.environ["OS_AUTH_URL"], "project_id": args.project}
        if "OS_PASSWORD" in os.environ:
            kind = "password"
            auth |= {
                "username": os.environ["OS_USERNAME"],
                "password": os.environ["OS_PASSWORD"],
                "user_domain_name": os.environ["OS_USER_DOMAIN_NAME"],
            }
        else:
            kind = "token"
            auth |= {"token": os.environ["OS_TOKEN"]}
    else:
        kind = "admin_token"
        auth = {"endpoint": args.base_url, "token": os.environ["OS_TOKEN"]}
        override = override.replace("%(project_id)s", args.project)
    connection = openstack.connect(
        load_yaml_config=False,
        load_envvars=False,
        auth_type=kind,
        auth=auth,
        app_name="app",
        app_version="1",
        **{f"{catalog_type.replace('-', '_')}_endpoint_override": override},
    )
    if kind == "admin_token":
        # load() wants to know the project from Keystone, which is not asked here.
        otcextensions.sdk.register_single_service(connection, service, args.project)
        otcextensions.sdk.patch_openstack_resources()
    else:
        otcextensions.sdk.load(connection)
    return connection


def json_of(response):
    """What users of the bare session do: raise as the SDK itself does, else read JSON."""
    exceptions.raise_from_response(response)
    return response.json()
