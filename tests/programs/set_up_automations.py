"""Set the automations of a Prefect server up, as each start of the services does: settings and waits as JSON."""

from __future__ import annotations

import json
import sys

from reviewlm.flows.server.alert_addresses import AlertSettings
from reviewlm.flows.server.automations import set_up

settings, seconds = (json.loads(argument) for argument in sys.argv[1:])
settings["addresses"] = tuple(settings.get("addresses", ()))
set_up(AlertSettings(**settings), **seconds)
