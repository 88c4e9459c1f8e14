"""Define the commands about alerts: where failures, promotions, refusals, drift and silence are reported."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Annotated

import typer

from reviewlm import terminal
from reviewlm.options import Json, Preset, Set, configure

if TYPE_CHECKING:
    from reviewlm.flows.server.alert_addresses import AlertSettings

TEST = "Alerts reach you."
REASON = re.compile(r"\[Errno -?\d+\] ([^\"')\]]+)|(\w*Timeout\w*|SSLError)\(")
"""Part of Apprise's debugging output that says why a connection failed, and has no address."""
log = logging.getLogger(__name__)
app = typer.Typer(
    no_args_is_help=True,
    help="Send alerts: failure, no worker, promotion, refusal, drift, silence.",
)


@app.command("set")
def alerts_set(
    addresses: Annotated[
        list[str] | None, typer.Argument(help="Without a password: json://host/path …")
    ] = None,
    file: Annotated[
        str,
        typer.Option(
            "--file",
            help="File with an address a line (mailto://user:password@host?to=…); '-' reads "
            "standard input. Other users see what stands on a command line.",
        ),
    ] = "",
    silence_days: Annotated[
        float,
        typer.Option(
            min=0.0002,
            max=3650,
            help="Days without a retrain until an alert.",
        ),
    ] = 8,
    preset: Preset = "small",
    set: Set = None,
    json: Json = False,
) -> None:
    """Send alerts to these addresses, and no others; a running server of `services start` takes them over at once.

    \b
    Examples:
      reviewlm home alerts set --file addresses.txt
      reviewlm home alerts set json://hooks.example.com/reviewlm
    """
    from apprise import Apprise

    from reviewlm.core.services.join import renew_alerts
    from reviewlm.flows.server.alert_addresses import has_secret, write_alerts

    on_command_line = addresses or []
    addresses = [
        *on_command_line,
        *(line.strip() for _, line in (terminal.read_lines(file) if file else [])),
    ]
    if not addresses:
        raise typer.BadParameter("name an address, or a file with --file", param_hint="ADDRESSES")

    for number, address in enumerate(addresses, 1):
        if "," in address or Apprise.instantiate(address) is None:
            message = f"Apprise does not know the form of address {number}; write a comma in a password as %2C"
            # Without the address: it may be secret.
            raise typer.BadParameter(message, param_hint="ADDRESSES")

    for number, address in enumerate(on_command_line, 1):
        if has_secret(address):
            log.warning(
                "address %d has a password or token: other users of this machine and the shell's history see what "
                "stands on a command line. Give a new one with --file",
                number,
            )

    home = configure(preset, set).home
    settings = write_alerts(home, addresses, silence_days)
    taken = "none runs; `services start` takes them over"
    if renew_alerts(home):
        taken = "has taken them over"

    _show_alerts(settings, {"server": taken}, json)


@app.command("show")
def alerts_show(
    preset: Preset = "small",
    set: Set = None,
    json: Json = False,
) -> None:
    """Show the hosts that alerts go to, without what may be secret."""
    from reviewlm.flows.server.alert_addresses import read_alerts

    _show_alerts(read_alerts(configure(preset, set, create=False).home), {}, json)


@app.command("test")
def alerts_test(
    preset: Preset = "small",
    set: Set = None,
    json: Json = False,
) -> None:
    """Send a test message to each address from this machine."""
    from reviewlm.core.errors import ConfigError, ReviewLMError
    from reviewlm.flows.server.alert_addresses import FILE, read_alerts

    home = configure(preset, set).home
    settings = read_alerts(home)
    if not settings.addresses:
        raise ConfigError(
            "There are no addresses",
            where=home / FILE,
            remedy="`reviewlm home alerts set --file FILE`",
        )

    failures = [_failure_of(address) for address in settings.addresses]
    rows = [
        {
            "to": to,
            "sent": not failure,
            "cause": failure,
        }
        for to, failure in zip(settings.shown(), failures, strict=True)
    ]
    terminal.show_rows(rows)
    failed = [row for row in rows if row["cause"]]
    if failed:
        raise ReviewLMError(
            "An alert could not be sent",
            value=f"{len(failed)} of {len(rows)}",
            cause="; ".join(f"{row['to']}: {row['cause']}" for row in failed),
            remedy="check host, user and password of the address",
        )

    terminal.last_line({"sent": len(rows)}, json)


def _failure_of(address: str) -> str:
    """Send a test message to an address; return why that failed, "" if it did not."""
    from apprise import Apprise, LogCapture

    from reviewlm.core.errors import without_secrets

    one = Apprise()
    with LogCapture(level=logging.DEBUG, fmt="%(levelname)s %(message)s") as captured:
        done = one.add(address) and one.notify(body=TEST, title="ReviewLM: a test")
        lines = captured.getvalue().splitlines()

    if done:
        return ""

    told = [line.partition(" ")[2] for line in lines if line.startswith(("WARNING ", "ERROR "))]
    told += [found[1] or found[2] for line in lines for found in REASON.finditer(line)]
    return without_secrets(" ".join(dict.fromkeys(told))) or "Apprise gives no reason"


@app.command("off")
def alerts_off(
    preset: Preset = "small",
    set: Set = None,
    json: Json = False,
) -> None:
    """Send no more alerts, and forget the addresses."""
    from reviewlm.core.services.join import renew_alerts
    from reviewlm.flows.server.alert_addresses import FILE, AlertSettings

    home = configure(preset, set).home
    (home / FILE).unlink(missing_ok=True)
    renew_alerts(home)
    _show_alerts(AlertSettings(), {}, json)


def _show_alerts(
    settings: AlertSettings,
    more: dict[str, str],
    json: bool,
) -> None:
    facts = {
        "to": ", ".join(settings.shown()) or "nobody",
        "silence_days": settings.silence_days,
        **more,
    }
    terminal.show_facts(facts)
    terminal.last_line({**facts, "to": settings.shown()}, json)
