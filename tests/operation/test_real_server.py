"""On a real Prefect server: alerts arrive, a lost run is noticed and tried again, a missing limit is an error."""

from __future__ import annotations

import email
import email.policy
import json
import os
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from core.credentials import credentials_of, prefect_client
from core.processes.keep_running import EVERY_SECONDS
from core.services import join, launch, service_list
from core.services.heartbeat import HEARTBEAT_SECONDS
from core.services.lost_runs import ATTEMPT_SECONDS, FIRST_SECONDS, SILENT_SECONDS
from core.services.pools import POOLS
from flows.server.automations import LOST_SECONDS
from flows.server.metrics import ABOUT

pytestmark = [pytest.mark.slow, pytest.mark.long]  # a server of its own, and waits of half a minute
DAY = 86_400


class Hook(BaseHTTPRequestHandler):
    """Keeps the titles and texts that are posted."""

    received: ClassVar[list[tuple[str, str]]] = []

    def do_POST(self) -> None:
        told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.received.append((told["title"], told["message"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *said: Any) -> None:
        """Stay silent."""


class Mail(socketserver.StreamRequestHandler):
    """Speaks as much SMTP as a message needs."""

    received: ClassVar[list[str]] = []

    def handle(self) -> None:
        self.wfile.write(b"220 here\r\n")
        while line := self.rfile.readline():
            verb = line[:4].upper()
            if verb == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                text = b""
                while (line := self.rfile.readline()) != b".\r\n":
                    text += line
                self.received.append(text.decode())
            self.wfile.write(b"221 bye\r\n" if verb == b"QUIT" else b"250 well\r\n")


@pytest.fixture(scope="module")
def addresses() -> Iterator[list[str]]:
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), Hook), socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mail)]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    hook, mail = (server.server_address[1] for server in servers)
    yield [f"json://127.0.0.1:{hook}/", f"mailto://127.0.0.1:{mail}?from=lm@example.com&to=me@example.com&mode=insecure"]
    for server in servers:
        server.shutdown()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, addresses: list[str]) -> Iterator[dict[str, str]]:
    """The environment of programs that use a Prefect server with our alerts."""
    home, started = tmp_path_factory.mktemp("alerted"), dict[str, service_list.Service]()
    before = {name: os.environ.get(name) for name in ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING", "PREFECT_HOME")}
    os.environ.pop("PREFECT_API_URL", None)
    os.environ["PREFECT_HOME"] = str(home / "prefect")
    _, module, health = launch.SERVERS["prefect"]
    try:
        launch._serve(home, started, "prefect", module, health)
        yield from alerting(started["prefect"].address, home, addresses)
    finally:
        service_list.stop(home)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def alerting(address: str, home: Path, addresses: list[str]) -> Iterator[dict[str, str]]:
    """Set up the alerts, and give the environment of programs that use the server."""
    known = {"PREFECT_API_URL": address + "/api", **prefect_client(credentials_of(home))}
    environment = {**os.environ, **known, **join.HEARTBEATS}
    for _ in range(2):
        set_up(environment, addresses)
    yield environment


def set_up(
    environment: dict[str, str], addresses: Sequence[str] = (), silence: float = 20, lost: float = 15
) -> None:
    """Set the automations up, as each start of the services does."""
    run(environment, f"""
from flows.server.alert_addresses import AlertSettings
from flows.server.automations import set_up
set_up(AlertSettings({tuple(addresses)!r}, {silence / DAY!r}), lost_seconds={lost}, worker_seconds=30)
""")


def triggers(environment: dict[str, str]) -> dict[str, str]:
    """Return the id of each automation's trigger; the server counts under it."""
    found = post(environment, "automations/filter", {})
    return {one["name"].removeprefix("reviewlm: "): one["trigger"]["id"] for one in found}


def post(environment: dict[str, str], path: str, body: Any) -> Any:
    """Return what the server answers to a request."""
    user, password = environment["PREFECT_API_AUTH_STRING"].split(":", 1)
    address = f"{environment['PREFECT_API_URL']}/{path}"
    return httpx.post(address, json=body, auth=(user, password), timeout=60).raise_for_status().json()


def run(environment: dict[str, str], program: str, seconds: float = 300) -> str:
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=seconds)
    assert done.returncode == 0, done.stderr[-3_000:]
    return done.stdout


def until(found: Callable[[], Any], seconds: float = 150) -> Any:
    over = time.monotonic() + seconds
    while not (it := found()):
        assert time.monotonic() < over, Hook.received
        time.sleep(0.5)
    return it


def with_title(part: str) -> list[tuple[str, str]]:
    return [told for told in Hook.received if part in told[0]]


def mails() -> list[tuple[str, str]]:
    """Return subject and text of the mails that came."""
    found = [email.message_from_string(mail, policy=email.policy.default) for mail in Mail.received]
    return [(str(mail["Subject"]), body.get_content() if (body := mail.get_body()) else "") for mail in found]


def test_there_is_one_automation_of_each_kind_however_often_they_are_set_up(server: dict[str, str]) -> None:
    told = run(server, """
from prefect.client.orchestration import get_client
with get_client(sync_client=True) as client:
    print(*sorted(one.name for one in client.read_automations()), sep=",")
""")
    names = ("drift", "failure", "lost runs", "no worker", "overdue", "promoted", "refused", "rolled-back",
             "set aside", "silence", "silent runs")  # fmt: skip
    assert told.strip().split(",") == [f"reviewlm: {name}" for name in names]


def test_a_start_leaves_automations_alone_that_have_not_changed(server: dict[str, str], addresses: list[str]) -> None:
    before = triggers(server)
    set_up(server, addresses)
    assert triggers(server) == before
    set_up(server, addresses, silence=21)
    after = triggers(server)
    assert {name for name in after if after[name] != before[name]} == {"silence"}


def test_the_page_of_metrics_has_our_figures_for_those_who_know_the_password(server: dict[str, str]) -> None:
    page = f"{server['PREFECT_API_URL']}/metrics"
    user, password = server["PREFECT_API_AUTH_STRING"].split(":", 1)
    assert httpx.get(page, timeout=60).status_code == 401
    told = httpx.get(page, auth=(user, password), timeout=60).raise_for_status().text
    assert ABOUT.keys() <= {family.name for family in text_string_to_metric_families(told)}


def test_the_page_has_the_last_heartbeat_of_a_run_in_progress_and_not_of_one_that_has_ended(
    server: dict[str, str]
) -> None:
    scraped = run(server | join.HEARTBEATS, """
import os, time, urllib.request
from base64 import b64encode
from prefect import flow
from prefect.runtime import flow_run
def figures():
    login = b64encode(os.environ["PREFECT_API_AUTH_STRING"].encode()).decode()
    page = os.environ["PREFECT_API_URL"] + "/metrics"
    with urllib.request.urlopen(urllib.request.Request(page, headers={"Authorization": "Basic " + login})) as answer:
        lines = [line.split() for line in answer.read().decode().splitlines()]
    return {name: float(at) for name, at in (line for line in lines if line[0].startswith("reviewlm_last_heartbeat"))}
@flow
def waits():
    name = f'reviewlm_last_heartbeat_timestamp_seconds{{flow="waits",run="{flow_run.id}"}}'
    end, seen = time.time() + 120, []
    while not (seen and seen[-1] - seen[0] > 20) and time.time() < end:
        time.sleep(2)
        seen += [at for key, at in figures().items() if key == name]
    return name, seen
began = time.time()
name, seen = waits()
time.sleep(6)
print(round(seen[0] - began, 3), round(seen[-1] - began, 3), name in figures())
""")
    first, last, still_there = scraped.split()
    assert 0 <= float(first) < 20, "the start, or the first heartbeat"
    assert float(first) + 20 < float(last) < 120, "half a minute later: nobody has ended a run of others"
    assert still_there == "False"


def test_a_failed_run_is_told_to_every_address_with_its_cause(server: dict[str, str]) -> None:
    run(server, """
from prefect import flow
@flow(name="retrain", flow_run_name="demo-of-today")
def failing():
    raise ValueError("the disk is full")
try:
    failing()
except ValueError:
    pass
""")
    [(title, text)] = until(lambda: with_title("demo-of-today"))
    assert title == "ReviewLM: retrain (demo-of-today): Failed"
    assert "the disk is full" in text
    [(subject, text)] = until(lambda: [mail for mail in mails() if "demo-of-today" in mail[0]])
    assert subject == title
    assert "the disk is full" in text


def test_the_failure_of_a_part_and_of_the_run_that_called_it_is_one_alert(server: dict[str, str]) -> None:
    run(server, """
from prefect import flow
@flow(name="ingest", flow_run_name="called-today")
def part():
    raise ValueError("no reviews")
@flow(name="retrain", flow_run_name="calls-today")
def whole():
    part()
try:
    whole()
except ValueError:
    pass
""")
    assert states(server, "ingest") == ["False Failed"]
    until(lambda: with_title("calls-today"))
    time.sleep(10)  # the part failed first, so its alert would be here
    assert [title for title, _ in Hook.received if "-today)" in title and "call" in title] == [
        "ReviewLM: retrain (calls-today): Failed"
    ]


@pytest.mark.parametrize(
    ("event", "title"),
    [
        ("PROMOTED", "yelp: version 7 is the new champion"),
        ("REFUSED", "yelp: version 7 was refused; the champion stays"),
        ("DRIFTED", "yelp: the new reviews differ"),
        ("DRIFT_SEEN", "yelp: the new reviews differ"),
        ("OVERDUE", "The stage fit is overdue"),
        ("SET_ASIDE", "A file of reviews cannot be read"),
    ],
)
def test_what_happens_to_the_model_is_told(server: dict[str, str], event: str, title: str) -> None:
    run(server, f"""
from prefect import flow
from core.config.presets import load_config
from tasks import announce
@flow
def deciding():
    config = load_config("demo", ["promotion.model_name=yelp"])
    told = {{"version": 7, "stage": "fit", "sentence": "Because of {event}.", "report": "page"}}
    announce.announce(announce.{event}, config, told)
deciding()
""")
    # Two events have one title, so the sentence tells which of them this is.
    for received in (lambda: Hook.received, mails):
        [(told, _)] = until(lambda came=received: [one for one in came() if f"Because of {event}." in one[1]])
        assert told == f"ReviewLM: {title}"


def test_a_rollback_by_hand_is_told_without_an_import_of_prefect(server: dict[str, str], tmp_path: Path) -> None:
    run(server, f"""
import sys
from pathlib import Path
from core.services.model_events import ROLLED_BACK, send_event
send_event(Path({str(tmp_path)!r}), ROLLED_BACK, "yelp", {{"version": 6, "sentence": "By hand, by ann: it swears"}})
assert "prefect" not in sys.modules
""")
    [(_, text)] = until(lambda: with_title("yelp: version 6 is the champion again"))
    assert "By hand, by ann: it swears" in text


def test_silence_is_told(server: dict[str, str]) -> None:
    title, _ = until(lambda: with_title("No retrain has finished for"))[0]
    assert until(lambda: [text for subject, text in mails() if subject == title and "reviewlm doctor" in text])


def test_a_pool_whose_worker_is_gone_is_told_and_one_whose_worker_comes_again_is_not(server: dict[str, str]) -> None:
    """Both workers stop; that of one pool starts again, as after a start of the services."""
    address, (user, password) = server["PREFECT_API_URL"], server["PREFECT_API_AUTH_STRING"].split(":", 1)

    def post(path: str, **body: Any) -> Any:
        return httpx.post(f"{address}/work_pools/{path}", json=body, auth=(user, password), timeout=60)

    def ready() -> set[str]:
        return {pool["name"] for pool in post("filter").json() if pool["status"] == "READY"}

    def heartbeat(pool: str, seconds: int) -> None:
        """Be a worker that sends the next heartbeat in so many seconds."""
        path = f"{pool}/workers/heartbeat"
        post(path, name="pretended", heartbeat_interval_seconds=seconds).raise_for_status()

    for pool in POOLS:
        post("", name=pool, type="process")
        heartbeat(pool, 1)
    assert ready() == set(POOLS)
    until(lambda: not ready())
    heartbeat("gpu-pool", 600)
    [(title, _)] = until(lambda: with_title("has no worker"))
    time.sleep(10)
    assert [title for title, _ in with_title("has no worker")] == [title]
    assert title == "ReviewLM: The pool cpu-pool has no worker"


LOST = """
import os, sys
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run
@flow(name=sys.argv[1])
def lost():
    import time
    if not {"mute", "foreign"} & set(sys.argv):
        from tasks.flow_run import keep_alive
        keep_alive(flow_run.id)
    print("begun", flush=True)
    time.sleep(900)
if "deployed" in sys.argv:
    asked = {} if "unasked" in sys.argv else {"env": {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}}
    with get_client(sync_client=True) as client:
        flow_id = client.create_flow(lost)
        deployment = client.create_deployment(flow_id, "deployed", work_pool_name=None, job_variables=asked)
        run = client.create_flow_run_from_deployment(deployment)
    from prefect.flow_engine import run_flow
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None} if "mute" in sys.argv else {}):
        run_flow(lost, flow_run=run)
elif "again" in sys.argv:
    from prefect.flow_engine import run_flow
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(sys.argv[-1])
    run_flow(lost, flow_run=run)
else:
    lost()
"""


def begin_a_run(environment: dict[str, str], *words: str) -> subprocess.Popen[str]:
    """Run the flow of this name, of a deployment or not; return its process.

    It sends our heartbeats and Prefect's, as our flows do; only Prefect's if it is "foreign", none if it is "mute".
    With "again" and the id of a run, it begins that one, as the process of a second attempt does.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", LOST, *words], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    until(lambda stdout=process.stdout: "begun" in stdout.readline())
    return process


def kill_in_a_run(server: dict[str, str], *words: str) -> None:
    """Run the flow of this name, of a deployment or not, and kill its process after the first heartbeat."""
    process = begin_a_run(server, *words)
    time.sleep(5)  # its first heartbeat is on its way
    process.kill()
    process.wait()


NOTICED = 15 + ATTEMPT_SECONDS + 2 * EVERY_SECONDS + 90
"""Seconds until the second attempt of a run that `set_up` lets be lost after 15, on a busy machine."""


def states(server: dict[str, str], name: str) -> list[str]:
    """Return of each run of a flow whether a deployment started it, and its state."""
    return sorted(f"{bool(run['deployment_id'])} {run['state']['name']}" for run in runs_of(server, name))


def runs_of(server: dict[str, str], name: str) -> list[dict[str, Any]]:
    return list(post(server, "flow_runs/filter", {"flows": {"name": {"any_": [name]}}}))


@pytest.mark.drill(
    "worker and flow killed together", "kill -9 of a flow without a worker",
    "Crashed; the deployment's run is scheduled again",
)  # fmt: skip
def test_a_run_whose_process_is_gone_becomes_crashed_and_that_of_a_deployment_is_tried_again(
    server: dict[str, str]
) -> None:
    """Without the heartbeats nothing else would ever end these runs."""
    for words in ([], ["deployed"]):
        kill_in_a_run(server, "lost", *words)
    assert until(lambda: states(server, "lost") == ["False Crashed", "True AwaitingRetry"], NOTICED)


def test_a_process_that_lives_keeps_its_run_although_it_was_taken_for_lost(
    server: dict[str, str], addresses: list[str]
) -> None:
    """No second process is started beside it, and an attempt that waits for a worker is called off."""
    set_up(server, addresses, lost=LOST_SECONDS)
    process = begin_a_run(server, "alive", "deployed")
    try:
        [made] = runs_of(server, "alive")
        of_run = f"flow_runs/{made['id']}/set_state"
        post(server, of_run, {"state": {"type": "CRASHED", "message": "No heartbeat"}, "force": True})
        time.sleep(ATTEMPT_SECONDS + 2 * EVERY_SECONDS)
        assert states(server, "alive") == ["True Crashed"]
        waits = {"type": "SCHEDULED", "name": "AwaitingRetry", "message": "Second attempt"}
        post(server, of_run, {"state": waits, "force": True})
        until(lambda: states(server, "alive") == ["True Running"], 60)
    finally:
        process.kill()
        process.wait()


@pytest.mark.drill(
    "worker and flow killed together", "the opposite: a process that was only cut off until its second attempt began",
    "it ends itself; the second attempt goes on",
)  # fmt: skip
def test_a_process_that_was_cut_off_ends_itself_once_another_one_has_begun_its_run_again(
    server: dict[str, str], addresses: list[str], record_property: Callable[[str, object], None]
) -> None:
    set_up(server, addresses, lost=LOST_SECONDS)
    first = begin_a_run(server, "cut-off", "deployed")
    processes = [first]
    try:
        [made] = runs_of(server, "cut-off")
        for state in ("CRASHED", "SCHEDULED", "PENDING"):  # taken for lost, scheduled again, taken by a worker
            of_run = f"flow_runs/{made['id']}/set_state"
            post(server, of_run, {"state": {"type": state, "message": "No heartbeat"}, "force": True})
        processes.append(begin_a_run(server, "cut-off", "again", made["id"]))
        began = time.monotonic()
        assert first.wait(2 * HEARTBEAT_SECONDS + 30) == 0, "another exit code makes its worker report a crash"
        record_property("seconds until it has ended", round(time.monotonic() - began, 1))
        time.sleep(HEARTBEAT_SECONDS + 5)  # the second one has looked at the run, too
        assert processes[1].poll() is None
        assert runs_of(server, "cut-off")[0]["run_count"] == 2
        assert states(server, "cut-off") == ["True Running"]
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_a_crash_that_is_reported_twice_is_told_once_and_followed_by_the_second_attempt(server: dict[str, str]) -> None:
    """As a worker does: the watcher of the process reports its end, and seconds later the worker itself."""
    made = run(server, """
import time
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.states import Crashed, Running
@flow(name="twice")
def twice():
    pass
asked = {"env": {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}}
with get_client(sync_client=True) as client:
    deployment = client.create_deployment(
        client.create_flow(twice), "deployed", work_pool_name=None, job_variables=asked)
    made = client.create_flow_run_from_deployment(deployment, state=Running())
    for message in ("its process was killed", "the infrastructure ended"):
        client.set_flow_run_state(made.id, Crashed(message=message), force=True)
        time.sleep(4)
print(made.id)
""").strip()
    history = f"""
from prefect.client.orchestration import get_client
with get_client(sync_client=True) as client:
    print(*[state.name for state in client.read_flow_run_states({made!r})])
"""
    until(lambda: states(server, "twice") == ["True AwaitingRetry"], NOTICED)
    assert run(server, history).split() == ["Running", "Crashed", "Crashed", "AwaitingRetry"]
    assert len(with_title("ReviewLM: twice")) == 1
    run(server, f"""
from prefect.client.orchestration import get_client
from prefect.states import Crashed, Running
with get_client(sync_client=True) as client:
    for state in (Running(), Crashed(message="its process was killed again")):
        client.set_flow_run_state({made!r}, state, force=True)
""")
    until(lambda: len(with_title("ReviewLM: twice")) == 2)


def test_only_a_crashed_run_of_ours_that_nobody_has_cancelled_is_tried_again(server: dict[str, str]) -> None:
    """Prefect itself says Crashed of a cancelled run whose process gets SIGTERM, as when its machine is shut down."""
    run(server, """
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.states import Cancelling, Completed, Crashed, Running
asked = {"env": {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}}
ends = {
    "crashed": (asked, [Crashed()]), "completed": (asked, [Completed()]),
    "cancelled": (asked, [Cancelling(), Crashed()]), "foreign": ({}, [Crashed()]),
}
with get_client(sync_client=True) as client:
    for name, (variables, states) in ends.items():
        @flow(name=f"ended-{name}")
        def ended():
            pass
        deployment = client.create_deployment(
            client.create_flow(ended), "deployed", work_pool_name=None, job_variables=variables)
        made = client.create_flow_run_from_deployment(deployment, state=Running())
        for state in states:
            client.set_flow_run_state(made.id, state, force=True)
""")
    until(lambda: states(server, "ended-crashed") == ["True AwaitingRetry"], NOTICED)
    time.sleep(EVERY_SECONDS)
    assert states(server, "ended-completed") == ["True Completed"]
    assert states(server, "ended-cancelled") == ["True Crashed"]
    assert states(server, "ended-foreign") == ["True Crashed"]


def test_a_run_that_ended_with_the_services_is_noticed_after_their_next_start(
    server: dict[str, str], addresses: list[str]
) -> None:
    """An automation that has changed is written again, and the server then forgets for which runs it waited."""
    kill_in_a_run(server, "rebooted", "deployed")
    set_up(server, addresses, lost=16)
    assert until(lambda: states(server, "rebooted") == ["True AwaitingRetry"], NOTICED)


@pytest.mark.drill(
    "worker and flow killed together", "kill -9 of a flow of a deployment before its first heartbeat",
    "Crashed and scheduled again without a restart; runs that live go on",
)  # fmt: skip
@pytest.mark.timeout(1200)
def test_a_run_that_was_killed_before_its_first_heartbeat_is_noticed_and_those_that_live_go_on(
    server: dict[str, str], addresses: list[str], record_property: Callable[[str, object], None]
) -> None:
    """The process that keeps Prefect's server running looks for it; all times are those of the product."""
    set_up(server, addresses, lost=LOST_SECONDS)
    slow = server | {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "180"}
    living = [
        begin_a_run(server, "beating", "deployed"), begin_a_run(server, "unasked", "deployed", "unasked", "mute"),
        begin_a_run(slow, "slow", "deployed", "unasked", "foreign"),
    ]  # fmt: skip
    try:
        for name, words in {"killed-early": ["mute"], "cancelled-early": ["mute"], "cancelled-late": []}.items():
            process = begin_a_run(server, name, "deployed", *words)
            if name.startswith("cancelled"):
                time.sleep(5)  # a first heartbeat is on its way
                [cancelled] = runs_of(server, name)
                post(server, f"flow_runs/{cancelled['id']}/set_state", {"state": {"type": "CANCELLING"}})
            process.kill()
            process.wait()
        killed, most = time.monotonic(), FIRST_SECONDS + 2 * EVERY_SECONDS + LOST_SECONDS + ATTEMPT_SECONDS + 90
        until(lambda: states(server, "killed-early") == ["True AwaitingRetry"], most)
        record_property("seconds until it is scheduled again", round(time.monotonic() - killed, 1))
        for name in ("cancelled-early", "cancelled-late"):
            until(lambda name=name: states(server, name) == ["True Cancelled"], SILENT_SECONDS + EVERY_SECONDS + 30)
            [cancelled] = runs_of(server, name)
            assert cancelled["run_count"] == 1
        assert [one.poll() for one in living] == [None] * 3
        assert [state for name in ("beating", "unasked", "slow") for state in states(server, name)] == [
            "True Running"
        ] * 3
    finally:
        for one in living:
            one.kill()
            one.wait()


def test_a_missing_limit_is_an_error_at_the_start_and_not_silently_unlimited(server: dict[str, str]) -> None:
    refused = """
from core.errors import ConfigError
from tasks.limits import require_limits, slot
for ask in (lambda: require_limits(["promotion"]), lambda: slot("promotion").__enter__()):
    try:
        ask()
    except Exception as error:
        print(type(error).__name__, "promotion" in str(error))
    else:
        print("nothing")
"""
    assert run(server, refused).split() == ["ConfigError", "True"] * 2
    create = [sys.executable, "-m", "prefect", "gcl", "create", "promotion", "--limit", "1"]
    subprocess.run(create, env=server, check=True, capture_output=True, timeout=120)
    assert run(server, refused).split() == ["nothing", "nothing"]


@pytest.mark.drill(
    "two retrains at once", "two processes wait for the promotion slot, three times each",
    "never both in it",
)  # fmt: skip
def test_two_processes_never_hold_the_one_slot_at_a_time(server: dict[str, str]) -> None:
    """Each process notes when it holds the slot."""
    create = [sys.executable, "-m", "prefect", "gcl", "create", "promotion", "--limit", "1"]
    subprocess.run(create, env=server, capture_output=True, timeout=120)  # fails if the test before has created it
    program = """
import time
from tasks.limits import slot
for _ in range(3):
    with slot("promotion"):
        begun = time.time()
        time.sleep(0.5)
        print(begun, time.time(), flush=True)
"""
    command = [sys.executable, "-c", program]
    both = [subprocess.Popen(command, env=server, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = [line.split() for process in both for line in process.communicate(timeout=280)[0].splitlines()]
    held = sorted((float(begun), float(ended)) for begun, ended in told)
    assert len(held) == 6
    assert all(ended <= begun for (_, ended), (begun, _) in pairwise(held))


@pytest.mark.drill(
    "worker and flow killed together", "kill -9 of the process that holds a GPU's slot",
    "the slot is free within two minutes of the last heartbeat",
)  # fmt: skip
@pytest.mark.timeout(600)
def test_the_slot_of_a_killed_process_is_free_within_two_minutes(
    server: dict[str, str], record_property: Callable[[str, object], None]
) -> None:
    create = [sys.executable, "-m", "prefect", "gcl", "create", "gpu", "--limit", "1"]
    subprocess.run(create, env=server, check=True, capture_output=True, timeout=120)
    hold = """
import time
from tasks.limits import slot
with slot("gpu"):
    print("held", flush=True)
    time.sleep(600)
"""
    holder = subprocess.Popen([sys.executable, "-c", hold], env=server, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    holder.kill()
    killed = time.time()
    holder.communicate()
    taken = run(server, """
import time
from tasks.limits import slot
with slot("gpu"):
    print(time.time())
""", seconds=240)
    seconds = round(float(taken) - killed, 1)
    record_property("seconds until it is free", seconds)
    assert seconds <= 120  # Prefect's own lease would have ended after five minutes
