"""Makes the dumps of this folder: `python3 make.py GATEWAY POSTGRES_URL_OF_EMPTY_DATABASE...` (see README.md)."""
import json, os, signal, sqlite3, subprocess, sys, tempfile, time, urllib.request

GATEWAY = sys.argv[1]
CLOUDS, API, ADMIN = "127.0.0.1:19900", "127.0.0.1:19980", "127.0.0.1:19981"
PROJECT = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"
SERVER = "7d2f6c1e-3b0a-4c55-9a51-0f6c2b9e8d14"
SYSTEM = ("5b6f0b52-1d43-4f6e-9a0d-3c2a7f1e9b01", "c0ffee00-1111-4222-8333-444455556666")
DATA = ("5b6f0b52-1d43-4f6e-9a0d-3c2a7f1e9b02", "c0ffee01-1111-4222-8333-444455556666")
FREE = ("5b6f0b52-1d43-4f6e-9a0d-3c2a7f1e9b03", "c0ffee02-1111-4222-8333-444455556666")
CBR_BACKUP = "0f9e8d7c-6b5a-4948-8372-615049382716"

def extra(n):
    return ("bac0bac0-0000-4000-8000-%012x" % n, "d15c0000-0000-4000-8000-%012x" % n)

def disk(pair):
    return {"project_id": PROJECT, "source": {"backup_id": pair[0]}, "target": {"type": "volume", "volume_id": pair[1]}}

def server(power_on=True):
    volumes = [{"backup_id": b, "volume_id": v} for b, v in (SYSTEM, DATA)]
    return {"project_id": PROJECT, "source": {"backup_id": CBR_BACKUP},
            "target": {"type": "server", "server_id": SERVER, "power_on": power_on, "volumes": volumes}}

def call(method, url, body=None, headers=None):
    data = json.dumps(body).encode() if body is not None else None
    headers = {"content-type": "application/json", "x-auth-token": "demo-token", **(headers or {})}
    request = urllib.request.Request("http://" + url, data=data, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"null")

def sim(path, body):
    status, answer = call("POST", CLOUDS + "/_sim/" + path, body)
    assert status in (200, 204), (path, status, answer)

SETTINGS = """
[listen]
api = "{api}"
admin = "{admin}"
[ledger]
url = "{ledger}"
[submit]
duplicate_window_seconds = 900
[follow]
interval_seconds = 0.5
status_cache_seconds = 0.2
settle_seconds = 1
grace_seconds = 1
unknown_seconds = {unknown}
[telemetry]
log_level = "warn"
[[upstreams]]
name = "cbr"
generation = "cbr-v3"
endpoint = "http://{clouds}"
volumes_endpoint = "http://{clouds}/evs"
[[upstreams]]
name = "vbs"
generation = "vbs-v2"
endpoint = "http://{clouds}/vbs"
volumes_endpoint = "http://{clouds}/evs"
[[routes]]
match = {{ volume_id = {moved} }}
upstream = "vbs"
on_retired = "cbr"
[[routes]]
match = {{ volume_id = {by_cbr} }}
upstream = "cbr"
[[routes]]
upstream = "vbs"
fan_out = true
"""

class Run:
    def __init__(self, ledger):
        self.folder, self.ledger, self.gateway = tempfile.mkdtemp(), ledger, None
        self.clouds = subprocess.Popen([GATEWAY, "simulate", "--listen", CLOUDS], stdout=subprocess.DEVNULL)
        self.wait(CLOUDS + "/_sim")
        self.setup(1)

    def setup(self, restore_seconds):
        sim("reset", {})
        free = {"detached": True}
        sim("world", {"extra_disks": 16, "restore_seconds": restore_seconds, "volumes": {SYSTEM[1]: free, DATA[1]: free}})

    def wait(self, url):
        for _ in range(200):
            try:
                call("GET", url)
                return
            except OSError:
                time.sleep(0.05)
        raise SystemExit("%s does not answer" % url)

    def start(self, unknown):
        moved, by_cbr = json.dumps([extra(n)[1] for n in (5, 6, 8)]), json.dumps([extra(n)[1] for n in (0, 1)])
        settings = os.path.join(self.folder, "gateway.toml")
        with open(settings, "w") as file:
            file.write(SETTINGS.format(api=API, admin=ADMIN, clouds=CLOUDS, ledger=self.ledger or "sqlite:ledger.db",
                                       unknown=unknown, moved=moved, by_cbr=by_cbr))
        self.gateway = subprocess.Popen([GATEWAY, "serve", "--config", settings], cwd=self.folder)
        self.wait(API + "/api/v1/restores")

    def stop(self):
        self.gateway.send_signal(signal.SIGTERM)
        assert self.gateway.wait(60) == 0

    def end(self):
        self.clouds.kill()
        self.clouds.wait()

    def submit(self, request, key=None):
        status, answer = call("POST", API + "/api/v1/restores", request, {"idempotency-key": key} if key else {})
        print(status, answer.get("status"), answer.get("code"), answer.get("id"), flush=True)
        return answer

    def until(self, id, fits):
        for _ in range(300):
            _, restore = call("GET", API + "/api/v1/restores/" + id)
            if fits(restore):
                return restore
            time.sleep(0.1)
        raise SystemExit("never: %s" % restore)

    def ends(self, answer, status):
        return self.until(answer["id"], lambda restore: restore["status"] == status)

    def resolve(self, id, outcome):
        self.until(id, lambda restore: restore["needs_operator"])
        said = {"as": outcome, "by": "ada", "reason": "looked at the disk"}
        status, answer = call("POST", ADMIN + "/restores/%s/resolution" % id, said)
        assert status == 200, answer

    def lose(self, path, times=1):
        return {"match": {"method": "POST", "path": path}, "times": times, "answer": {"status": 504, "body_raw": ""}}

    def closed(self):
        said = {"error": {"code": "BackupService.4008", "message": "closed"}}
        return [{"match": {"method": "POST", "path": "*/cloudbackups/%s/restore" % extra(n)[0]}, "times": 0,
                 "answer": {"status": 400, "body": said}} for n in (5, 6, 8)]

def finished(run):
    run.start(1)
    run.ends(run.submit(server(), "server-done"), "succeeded")
    sim("world", {"next_restore": {"status": "failed", "error_code": "VolumeBackup.0200", "error_msg": "no"}})
    run.ends(run.submit(server(False)), "failed")
    run.setup(1)
    sim("faults", {"faults": [run.lose("*/restore", 2)]})
    none = run.submit(server(), "server-none")
    lost = run.until(none["id"], lambda restore: [part["status"] for part in restore.get("parts") or []] == ["unknown"] * 2)
    for part in lost["parts"]:
        run.resolve(part["id"], "not_applied")
    run.ends(none, "not_applied")
    run.ends(run.submit(disk(FREE), "disk-done"), "succeeded")
    run.ends(run.submit(disk(extra(0))), "succeeded")
    sim("world", {"next_restore": {"status": "failed", "error_code": "BackupService.6001", "error_msg": "no"}})
    run.ends(run.submit(disk(extra(1))), "failed")
    run.setup(1)
    for n, outcome in ((2, "applied"), (3, "not_applied")):
        sim("faults", {"faults": [run.lose("*/restore")]})
        restore = run.submit(disk(extra(n)))
        run.resolve(restore["id"], outcome)
    refused = {"error": {"code": "VBS.0002", "message": "no"}}
    sim("faults", {"faults": [{"match": {"method": "POST", "path": "*/restore"}, "answer": {"status": 400, "body": refused}}]})
    run.submit(disk(extra(4)), "disk-refused")
    sim("faults", {"faults": run.closed()})
    run.ends(run.submit(disk(extra(5)), "moved"), "succeeded")
    run.stop()
    # What it knows of the closed generation is forgotten with the process.
    run.start(1)
    run.ends(run.submit(disk(extra(6))), "succeeded")
    run.stop()
    run.start(3600)
    run.setup(86400)
    sim("faults", {"faults": run.closed()})
    run.until(run.submit(disk(extra(7)), "running")["id"], lambda restore: restore["status"] == "running")
    run.until(run.submit(disk(extra(8)), "moving")["id"], lambda restore: restore["status"] == "running" and restore["upstream"]["handle"])
    sim("faults", {"faults": [run.lose("*/restore")]})
    run.ends(run.submit(disk(extra(9))), "unknown")
    run.stop()

def unfinished(run):
    run.start(3600)
    run.ends(run.submit(disk(FREE), "disk-done"), "succeeded")
    run.setup(86400)
    restore = run.submit(server(), "server-open")
    run.until(restore["id"], lambda restore: len(restore.get("parts") or []) == 2)
    time.sleep(1)
    run.stop()

def dump_sqlite(run, name):
    file = sqlite3.connect(os.path.join(run.folder, "ledger.db"))
    file.execute("pragma wal_checkpoint(truncate)")
    with open(name, "w") as out:
        out.writelines(line + "\n" for line in file.iterdump())
    file.close()

def dump_postgres(run, name):
    text = subprocess.run([os.environ["PG_DUMP"], "--inserts", "--no-owner", "--no-privileges", run.ledger],
                          check=True, capture_output=True, text=True).stdout
    lines = [line for line in text.splitlines() if line and not line.startswith(("--", "\\"))]
    with open(name, "w") as out:
        out.writelines(line + "\n" for line in lines)

for which, scenario in (("finished", finished), ("unfinished", unfinished)):
    for store, ledger in (("sqlite", None), ("postgres", None)):
        if store == "postgres":
            ledger = sys.argv[2] + "/" + which
        print("==", which, store, flush=True)
        run = Run(ledger)
        try:
            scenario(run)
            (dump_postgres if ledger else dump_sqlite)(run, "%s.%s.sql" % (which, store))
        finally:
            if run.gateway and run.gateway.poll() is None:
                run.gateway.kill()
            run.end()
