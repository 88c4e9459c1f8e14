"""Prepare a process: home folder, permissions, the frameworks' variables; find the cores and GPUs it may use.

All files are kept below one folder (`REVIEWLM_HOME`, default `./.reviewlm`). Telemetry is switched off. The thread
pools of the numeric libraries are set so that they do not slow each other down.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path

from reviewlm.core.errors import (
    MOVE,
    ConfigError,
    TrackingUnavailable,
    disk_error,
    disk_errors,
)
from reviewlm.core.home_format import require_format
from reviewlm.core.sqlite_files import require_addressable

VISIBLE = "CUDA_VISIBLE_DEVICES"
NAME = re.compile(r"\d+|GPU-[0-9A-Fa-f-]+|MIG-\S+")
"""A GPU in that variable: its index, the beginning of its UUID, or a part of one (MIG)."""
HOME_VARIABLE = "REVIEWLM_HOME"
TRACKING_VARIABLE = "REVIEWLM_TRACKING_URI"
LEASES = (
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE",
    "prefect.server.concurrency.lease_storage.filesystem",
)
NUMPY_FEATURES = ("NPY_DISABLE_CPU_FEATURES", "NPY_ENABLE_CPU_FEATURES")
"""Variables that numpy reads when it is imported: instructions of the processor that it does not use, or uses."""
FIXED = {
    # MLflow would send what is logged from a thread, and lose it without a word while the server is away.
    "MLFLOW_ENABLE_ASYNC_LOGGING": "false",
    # MLflow would repeat every request whose answer is lost, even one that creates a run. Our code repeats safe ones.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    # MLflow would refuse a text that is longer than its table allows, after hours of training.
    "MLFLOW_TRUNCATE_LONG_VALUES": "true",
    # MLflow would put the uv.lock of the working folder into each version, and ask an index for its requirements.
    "MLFLOW_UV_AUTO_DETECT": "false",
    "MLFLOW_LOCK_MODEL_DEPENDENCIES": "false",
    # Commands and the server here would use different tables of one database.
    "MLFLOW_ENABLE_WORKSPACES": "false",
    # Prefect would make failed flows and tasks again at once; ours know which errors another attempt can mend.
    "PREFECT_FLOWS_DEFAULT_RETRIES": "0",
    "PREFECT_TASKS_DEFAULT_RETRIES": "0",
    # Prefect would store what tasks return, models included, a second time.
    "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
    "PREFECT_TASKS_DEFAULT_PERSIST_RESULT": "false",
}
"""Variables of the frameworks by which a run would mean something else: a value of the user is not used."""
BOOLEANS = {
    "0": "false",
    "1": "true",
    "no": "false",
    "yes": "true",
    "off": "false",
    "on": "true",
}
BEAT = "PREFECT_FLOWS_HEARTBEAT_FREQUENCY"
LONGEST_BEAT = 180
"""Most seconds between two heartbeats of a flow run: the server ends a run that has sent none for 600 s."""
PROXIES = ("http_proxy", "https_proxy", "all_proxy")
EXCEPTIONS = ("no_proxy", "NO_PROXY")
LOOPBACK = ("127.0.0.1", "localhost")


def present_gpus(devices: Path) -> int:
    """Return the number of GPUs that have a device file in a folder."""
    return len(
        [path for path in devices.glob("nvidia*") if path.name.removeprefix("nvidia").isdigit()]
    )


def visible_gpu_names(devices: Path = Path("/dev")) -> list[str]:
    """Return the GPUs that CUDA shows to a process, by the names that they have in CUDA_VISIBLE_DEVICES.

    CUDA reads the variable up to the first name that it does not know. So "-1" and "NoDevFiles" hide all GPUs, and
    "0,-1,1" all but the first.

    Args:
        devices: Folder in which the system keeps device files.
    """
    present = present_gpus(devices)
    named = os.environ.get(VISIBLE)
    if named is None:
        return [str(index) for index in range(present)]
    names: list[str] = []
    for name in map(str.strip, named.split(",")):
        if not NAME.fullmatch(name) or (present and name.isdigit() and int(name) >= present):
            break
        names.append(name)
    return list(dict.fromkeys(names))


def usable_together(names: Sequence[str]) -> int:
    """Return how many of these GPUs one process, or the processes of one fit, can use.

    CUDA shows a process one part of a GPU (MIG) only, and NCCL does not connect parts.
    """
    parts = [index for index, name in enumerate(names) if name.startswith("MIG-")]
    if parts:
        return max(1, parts[0])
    return len(names)


log = logging.getLogger(__name__)


def home_folder(configured: str = ".reviewlm") -> Path:
    """Return the folder of store, tracking database and Prefect's state; `REVIEWLM_HOME` wins over the setting."""
    named = Path(os.environ.get(HOME_VARIABLE) or configured)
    try:
        return named.expanduser().absolute()  # no shell expands "~" in a file of variables
    except RuntimeError as error:
        raise ConfigError(
            "The folder of a user in REVIEWLM_HOME is not known",
            where=HOME_VARIABLE,
            value=named,
            cause=str(error),
            remedy="write the whole path",
        ) from error


@contextmanager
def variables(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables within the block."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def other_home(folder: Path) -> AbstractContextManager[None]:
    """Use another home folder for all configurations of this process within the block."""
    return variables({HOME_VARIABLE: str(folder)})


def prepare_environment(
    home: Path,
    group: bool = False,
    create: bool = True,
) -> None:
    """Create the home folder, restrict it to its owner, and set the frameworks' variables.

    Values set by the user win, but for those in `FIXED` and for heartbeats that come too seldom.

    Args:
        home: The home folder.
        group: Allow the home folder's group to use it, too.
        create: Create it if it is missing; a command that only reads leaves no empty folder behind.

    Raises:
        ConfigError: No address of a database can hold its path.
        StoreFull, NotWritable: The home folder cannot be created.
        OtherFormat: Another version of ReviewLM has made it.
    """
    require_addressable(home)
    with disk_errors(home):
        make_private(group)
        new = not home.exists()
        try:
            if create:
                (home / "prefect").mkdir(parents=True, exist_ok=True)
        except FileNotFoundError as error:  # folders of the system, such as /proc, take no new ones
            raise disk_error(error.errno, home, str(error), MOVE) from error

        if create and new and group:
            home.chmod(0o2770)  # new files in a folder with this bit belong to the folder's group

    require_format(home)
    for name, value in _default_variables(home).items():
        os.environ.setdefault(name, value)

    beat = os.environ.get(BEAT, "")
    if not beat.isdecimal() or int(beat) > LONGEST_BEAT:
        beat = str(LONGEST_BEAT)

    fix({**FIXED, BEAT: beat})
    _reach_this_machine_directly()
    logging.getLogger("reviewlm").setLevel(logging.DEBUG)


def _default_variables(home: Path) -> dict[str, str]:
    """Return the frameworks' variables for a home folder, which values set by the user replace."""
    return {
        HOME_VARIABLE: str(home),
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        # Two runs of one home write to one SQLite file. Where a busy machine answers "locked" for a minute, the usual
        # five attempts (62 seconds) are too few; eight are 8 minutes.
        "PREFECT_CLIENT_MAX_RETRIES": "8",
        "PREFECT_SERVER_DATABASE_TIMEOUT": "30",
        # Prefect's server keeps who holds a place (of a deployment, a limit) in its memory by default. A server that is
        # killed would lose it: the run that holds the place is ended at its next renewal, and the place stays taken.
        LEASES[0]: LEASES[1],
        # Prefect keeps finished flow runs with their logs for ever by default; with this, for 90 days.
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "reviewlm",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "DO_NOT_TRACK": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "GX_ANALYTICS_ENABLED": "False",
        "TOKENIZERS_PARALLELISM": "true",
        # Waiting threads spin 300,000 times by default, which starves all others as soon as anything else runs: next to
        # two busy processes, a training with two threads took 7.7 s, with this value 5. With 500 it took as long, but
        # on a quiet machine 11 % longer than with this value, because threads that sleep wake late.
        "GOMP_SPINCOUNT": "5000",
        # torch asks the system for huge pages (2 MiB) for its larger tensors. Training an LSTM of 640 with 11,811 words
        # took 60 to 100 MiB less memory and 0 to 4 % less processor time, with equal results.
        "THP_MEM_ALLOC_ENABLE": "1",
        # Arrow's own allocator keeps what it frees. With that of the C library (core/processes/memory.py), cleaning
        # 600,000 reviews took at most 701 MiB instead of 796, and 371 instead of 521 at its end, in the same time.
        "ARROW_DEFAULT_MEMORY_POOL": "system",
    }


def fix(values: Mapping[str, str]) -> None:
    """Set environment variables, and warn of each value of the user that is not used."""
    for name, value in values.items():
        before = os.environ.get(name)
        if before is not None and BOOLEANS.get(before.lower(), before.lower()) != BOOLEANS.get(
            value, value
        ):
            log.warning("%s=%s of the environment is not used, but %s", name, before, value)
        os.environ[name] = value


def _reach_this_machine_directly() -> None:
    """Except this machine from the proxy of the environment, if there is one: it cannot reach the servers here."""
    if not any(os.environ.get(name) for name in (*PROXIES, *map(str.upper, PROXIES))):
        return

    listed = [
        part.strip()
        for name in EXCEPTIONS
        for part in os.environ.get(name, "").split(",")
        if part.strip()
    ]
    if "*" not in listed:  # no proxy for anything
        os.environ.update(dict.fromkeys(EXCEPTIONS, ",".join(dict.fromkeys([*listed, *LOOPBACK]))))


def numpy_features() -> dict[str, str]:
    """Return the variable that makes numpy sort fast on this processor, or nothing if it is not needed.

    With AVX-512, numpy moves the values below the pivot with an instruction that AMD processors run in microcode.
    There, sorting takes five times as long as without AVX-512 (2 million int64: 107 ms and 20 ms), argsort twice as
    long.
    """
    try:
        about = Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("\n\n")[0]
    except OSError:
        return {}

    slower = "AuthenticAMD" in about and " avx512f" in about and NUMPY_FEATURES[1] not in os.environ
    return {NUMPY_FEATURES[0]: "X86_V4 AVX512_ICL"} if slower else {}


def numpy_variables() -> dict[str, str]:
    """Return the variables with which numpy computes elsewhere as here: with others, exp and log have other last bits.

    This holds because a command sets its features before it imports numpy.
    """
    return {name: os.environ[name] for name in NUMPY_FEATURES if name in os.environ}


@contextmanager
def reaching_prefect() -> Iterator[None]:
    """Turn the bare RuntimeError that Prefect raises for an unreachable server into TrackingUnavailable."""
    try:
        yield
    except RuntimeError as error:
        if "Failed to reach API" not in str(error):
            raise
        raise TrackingUnavailable(
            "The Prefect server cannot be reached",
            where=os.environ.get("PREFECT_API_URL", "a temporary server"),
            cause=str(error),
            remedy="`reviewlm services start`, or unset PREFECT_API_URL; on a busy machine try again",
        ) from error


def available_cores() -> int:
    """Return the number of cores this process may use, with CPU affinity and container quota taken into account."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1

    quota = Path("/sys/fs/cgroup/cpu.max")
    if quota.is_file():
        limit, period = quota.read_text().split()[:2]
        if limit != "max":
            cores = min(cores, max(1, round(int(limit) / int(period))))
    return cores


def busy() -> str:
    """Return a sentence if other programs keep this machine busy, which makes all work longer; else an empty one."""
    load = os.getloadavg()[0]
    cores = available_cores()
    if load > 2 * cores:
        return f"this machine is busy: {load:.0f} processes want its {cores} cores"
    return ""


def chosen_device(configured: str, devices: Path = Path("/dev")) -> str:
    """Return "cpu" or "cuda": the value of `execution.device`, or for "auto" the GPU if a network can use one.

    torch is asked only where the system has device files of GPUs.

    A GPU can be used if the driver has created its device file, it is visible, and torch can compute on it. If only the
    last is missing, a warning says so. torch is not imported where there is no GPU.

    Args:
        configured: "auto", "cpu" or "cuda".
        devices: Folder in which the system keeps device files.
    """
    if configured != "auto":
        return configured
    if not (devices / "nvidiactl").exists() or not visible_gpu_names(devices):
        return "cpu"

    from reviewlm.models.neural.device import gpu_problem

    if problem := gpu_problem():
        _warn_of_gpu(problem)
        return "cpu"

    return "cuda"


@cache
def _warn_of_gpu(problem: str) -> None:
    log.warning("there is a GPU, but %s; with execution.device=auto the processor is used", problem)


def make_private(group: bool = False) -> None:
    """Let only the owner, or with *group* also the group, use all files and folders that this process makes.

    The home folder holds reviews, personal data in quarantine, and a password. New files follow the umask of the process,
    which child processes inherit; `reviewlm doctor` names older ones that are open.
    """
    os.umask(0o007 if group else 0o077)
