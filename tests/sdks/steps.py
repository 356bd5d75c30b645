"""What the programs here share: their arguments, one JSON line per step, and how an error of an SDK is shown.

Exit codes: 0 it went as asked, 1 it did not, 2 wrong arguments, 3 the SDK broke on an answer (an exception that is not
one of its own), 4 no end in time.
"""

import argparse
import json
import sys
import time


class NotInTime(Exception):
    """The restore has not ended within the patience of the user."""


def arguments(doc):
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("action", choices=["restore", "refused"],
                        help="restore: read, restore, follow to the end; refused: restore only, and show the refusal")
    parser.add_argument("--base-url", required=True, help="the service, without version and project")
    parser.add_argument("--project", required=True)
    parser.add_argument("--backup", required=True, help="backup, or checkpoint item")
    parser.add_argument("--checkpoint", help="the restore point of a CSBS checkpoint item")
    parser.add_argument("--server")
    parser.add_argument("--mapping", action="append", default=[], metavar="BACKUP=VOLUME")
    parser.add_argument("--volume")
    parser.add_argument("--volumes-url", help="where volumes are read, when not at the base URL")
    parser.add_argument("--every", type=float, default=0.2, help="seconds between two looks")
    parser.add_argument("--patience", type=float, default=60.0, help="seconds until the end must have come")
    args = parser.parse_args()
    args.base_url = args.base_url.rstrip("/")
    args.mappings = [
        dict(zip(("backup_id", "volume_id"), pair.split("=", 1))) for pair in args.mapping
    ]
    return args


def say(step, **facts):
    print(json.dumps({"step": step, **facts}, default=str), flush=True)


def follow(args, step, look, running):
    """Looks until the status is none of the running ones; says each status that is not the one before."""
    end = time.monotonic() + args.patience
    last = None
    while True:
        seen = look()
        if seen is not None and seen["status"] != last:
            last = seen["status"]
            say(step, **seen)
        if seen is not None and last not in running:
            return last
        if time.monotonic() > end:
            raise NotInTime(f"{step}: {last}")
        time.sleep(args.every)


def run(args, own, restore, refused):
    """Does what was asked; `own` are the exceptions that the SDK has for its users."""
    try:
        if args.action == "refused":
            refused()
            say("accepted")
            sys.exit(1)
        well = restore()
        say("end", status="well" if well else "not well")
        sys.exit(0 if well else 1)
    except own as error:
        show(error, crash=False)
        sys.exit(0 if args.action == "refused" else 1)
    except NotInTime as error:
        show(error, crash=False)
        sys.exit(4)
    except Exception as error:  # what the SDK did not foresee is what this is about
        show(error, crash=True)
        sys.exit(3)


def show(error, crash):
    """The names under which the SDKs keep what the server has said differ."""
    def first(*names):
        return next((value for value in (getattr(error, name, None) for name in names) if value), None)

    say(
        "error",
        **{"class": type(error).__name__},
        crash=crash,
        message=first("error_msg", "message") or str(error),
        code=first("error_code"),
        http_status=first("status_code", "http_status", "code"),
        request_id=first("request_id"),
        details=first("details"),
    )
