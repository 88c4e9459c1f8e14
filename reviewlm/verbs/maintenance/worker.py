"""Define the commands by which this machine fits networks for other machines."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.credentials import USER, prefect_client, read_password
from core.environment import STORE_VARIABLE, chosen_device
from core.errors import ConfigError, ReviewLMError
from core.processes import interrupts
from reviewlm import terminal
from reviewlm.options import Json, configured

if TYPE_CHECKING:
    from core.config.run_config import RunConfig

app = typer.Typer(no_args_is_help=True, help="Fit networks on this machine for runs of other machines.")
NEEDED = ("Python", "packages", "code", "memory", "disk", "GPU", "remote store", "PREFECT_API_URL")
"""The checks of `reviewlm doctor` that a worker needs."""
DRAIN_SECONDS = 20.0
SERVER = "PREFECT_API_URL"


@app.command("start")
def start(
    pool: Annotated[str, typer.Option("--pool", metavar="NAME", help="Work pool to join.")] = "gpu-pool",
    server: Annotated[
        str, typer.Option("--server", metavar="URL", help="Its Prefect server. Default: PREFECT_API_URL.")
    ] = "",
    store: Annotated[
        str,
        typer.Option("--store", metavar="ADDRESS", help="Remote store that both machines reach: file:///… or s3://…"),
    ] = "",
    password_file: Annotated[
        Path | None,
        typer.Option("--password-file", metavar="FILE", help="File with the password of `services password` there."),
    ] = None,
    address: Annotated[
        str,
        typer.Option("--address", metavar="IP", help="Where other workers reach this machine. Default: its host name."),
    ] = "",
    places: Annotated[
        int, typer.Option("--places", metavar="N", min=0, help="Fits at a time. Default: one for each GPU.")
    ] = 0,
    json: Json = False,
) -> None:  # fmt: skip
    """Join the Prefect server of another machine, and fit its networks here until Ctrl-C.

    The other machine names the pool in `execution.fit_pool`. Without --password-file, PREFECT_API_AUTH_STRING
    ("user:password") of the environment is used. CUDA_VISIBLE_DEVICES says which GPUs may be used. --address is needed
    where several workers train one network together (`execution.fit_machines`); then also give --places 1.
    """
    from core.config.presets import DEFAULT

    _name_server(server, password_file)
    config = configured(DEFAULT, [f"execution.remote_store={store}"] if store else [])
    if not config.execution.remote_store:
        raise ConfigError(
            "A worker needs the remote store through which it gets its jobs", where="--store",
            remedy="name the same place as `execution.remote_store` of the other machine",
        )
    os.environ[STORE_VARIABLE] = config.execution.remote_store
    _require_health(config)
    from flows.server.joined_worker import join_pool, start_worker
    from tasks.fitting.meeting import ADDRESS_VARIABLE, interface_of
    from tasks.fitting.pool_worker import places as places_here

    if address:
        interface_of(address)
        os.environ[ADDRESS_VARIABLE] = address
    join_pool(pool)
    count, device = places or places_here(), chosen_device(config.execution.device)
    worker = start_worker(pool, count)
    on = "the processor" if device == "cpu" else f"{count} GPUs" if count > 1 else "a GPU"
    terminal.say(f"Fits jobs of {pool}, {count} at a time, on {on}. To end: Ctrl-C")
    with interrupts.drained(lambda: worker.send_signal(signal.SIGTERM), DRAIN_SECONDS):
        code = worker.wait()
    terminal.last_line({"pool": pool, "places": count, "device": device, "exit_code": code}, json)
    if code > 0:
        raise ReviewLMError("Prefect's worker has ended with an error", value=code, remedy="see its lines above")


def _name_server(server: str, password_file: Path | None) -> None:
    """Put the server's address and credentials into the environment, from where Prefect takes them.

    Raises:
        ConfigError: No server is named.
        Unreadable: Others can read the file with the password, or it holds none.
    """
    if server:
        address = server.rstrip("/")
        os.environ[SERVER] = address if address.endswith("/api") else f"{address}/api"
    if not os.environ.get(SERVER):
        raise ConfigError(
            "No Prefect server is named", where="--server",
            remedy="give the address of the Prefect pages of the other machine, e.g. --server http://127.0.0.1:4200",
        )
    if password_file is None:
        return
    password = read_password(password_file, f"copy the password again, and chmod 600 {password_file}")
    os.environ.update(prefect_client(f"{USER}:{password}"))


def _require_health(config: RunConfig) -> None:
    """Show what the checks found that a worker depends on.

    Raises:
        ReviewLMError: There is a problem.
    """
    from reviewlm.doctor.examine import CHECKS, examine

    lines = examine(config, {name: CHECKS[name] for name in NEEDED})
    for line in lines:
        terminal.say(line.in_words())
    if any(line.state == "problem" for line in lines):
        raise ReviewLMError("This machine cannot fit for others yet", remedy="correct the problems listed above")
