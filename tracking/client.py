"""Open an MLflow client, safely for several processes, and turn MLflow's errors into the project's own.

Requests to MLflow use an explicit `MlflowClient`. The fluent interface (`mlflow.start_run`, `mlflow.log_metric`)
keeps one active run and one tracking address per process. Two flows in one process would share them without noticing.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from filelock import FileLock

from reviewlm.core.empty_databases import keep_copy, place_copy
from reviewlm.core.environment import FIXED, fix
from reviewlm.core.errors import (
    ArtifactError,
    NotAuthorized,
    NotWritable,
    ReviewLMError,
    TrackingUnavailable,
    disk_error_in,
    disk_errors,
    without_password,
)
from reviewlm.core.extras import install_command
from reviewlm.core.figures import BASELINE_GAIN, BITS, CHAMPION_GAIN
from reviewlm.core.services.service_list import address_of, running
from reviewlm.core.sqlite_files import database_file
from reviewlm.tracking.artifacts import ARTIFACTS, RELATIVE, new_address, register
from reviewlm.tracking.database import (
    DAMAGED,
    INCOMPLETE,
    MADE_BY_MLFLOW,
    damage_error,
    has_tables,
    interference,
    newest_tables,
    note_opened,
    require_same,
)
from reviewlm.tracking.tags import (
    ADAPTATION,
    COMPARISON,
    EXPERIMENT_KIND,
    KIND,
    NOTE,
    RETRAIN,
    RUN_OUTCOME,
    RUN_REASON,
    stored_name,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # standard output is for results
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_RECORD_ENV_VARS_IN_MODEL_LOGGING": "false",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "GIT_PYTHON_REFRESH": "quiet",  # a machine without git needs no warning
}
DENIED = frozenset({"UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED", "PERMISSION_DENIED"})
DENIED_STATUS = (401, 403)
DENIED_WORDS = (  # from PostgreSQL and S3
    "password authentication failed",
    "no password supplied",
    "(403)",
    "(AccessDenied)",
    "(ExpiredToken)",
    "(InvalidAccessKeyId)",
    "(SignatureDoesNotMatch)",
    "Unable to locate credentials",
)
BUCKETS = ("boto3", "botocore", "google", "azure")
"""Packages with which MLflow uses a bucket of artifacts, where no server does it."""
ORIGINS = ("mlflow", "requests", "sqlalchemy", "sqlite3", *BUCKETS)
"""MLflow, and the packages that it uses to reach its store."""
UI_VARIABLE = "REVIEWLM_MLFLOW_URL"
LISTED = (CHAMPION_GAIN, BASELINE_GAIN, BITS)
"""Figures of the list of runs, in the order of its columns."""
TRAINING_VIEW = "workflowType=machine_learning"
"""Query of a link. Without it the UI opens pages about agents and traces."""
TRAINING = "custom_model_development"
"""Kind of the experiment. Without it the UI guesses, and shows models as agent versions, with traces and judges."""
RUN_NAME_COLUMN = "attributes.`Run Name`"
RUN_COLUMNS = {
    f"tags.`{RUN_REASON}`": 170,
    **{f"metrics.`{figure.run_name}`": 105 for figure in LISTED},
    "metrics.`reviews`": 75,
    f"tags.`{RUN_OUTCOME}`": 90,
}
"""Columns of the list of runs with their widths in pixels: at 1,280 pixels the reason stands beside the name."""
VIEWS = {
    "runs": {  # retrains, the newest first: an order by a figure would rank runs on different test reviews
        "searchFilter": f"tags.`{RUN_OUTCOME}` != '{COMPARISON}'",
        "orderByKey": "attributes.start_time",
        "orderByAsc": False,
        "selectedColumns": list(RUN_COLUMNS),
        "columnOrder": [
            RUN_NAME_COLUMN,
            *RUN_COLUMNS,
        ],  # on a phone no column stays in front by itself
        "columnWidths": {RUN_NAME_COLUMN: 190, **RUN_COLUMNS},
    },
    "models": {  # until the first retrain has shown its own
        "searchFilter": f"tags.`{KIND}` ILIKE '%'",
        "orderByKey": "metrics.`test/open_bits_per_byte`",
        "orderByAsc": True,
        "selectedColumns": ["metrics.`test/perplexity`", "metrics.`test/open_bits_per_byte`"],
    },
}
"""Shared views of the experiment, as MLflow's page "Share view" stores them: what a link with their name shows."""
VIEW_TAG = "mlflow.sharedViewState."
MODELS_VIEW = f"{VIEW_TAG}models"
TAGS = {EXPERIMENT_KIND: TRAINING, **{VIEW_TAG + name: json.dumps(VIEWS[name]) for name in VIEWS}}
ABOUT = (
    "★ is in use: its `reason` says why. Gains are in per cent of another model's bits, saved on the same reviews: "
    "`champion_gain` of the champion before it, `baseline_gain` of its n-gram model; both are equal where this was that "
    "champion. "
    "`open_bits` (per byte; fewer are better) and `perplexity` of two runs compare only if both have the same test "
    "`reviews` (and vocabulary). `gate/outcome` and the description of a run have the reasons; that of a model's run says "
    "what `test/baseline_gain` and `test/gap` are measured against."
)
"""Description of a new experiment, above its list of runs."""
READ_PAUSES = (0.5, 2.0)
"""Seconds before a request is repeated: a connection may break although nothing is wrong."""


class Absent(ReviewLMError):
    """MLflow has no such entry."""


class Present(ReviewLMError):
    """MLflow has an entry of this name already."""


REFUSED: dict[str, type[ReviewLMError]] = {
    "RESOURCE_DOES_NOT_EXIST": Absent,
    "NOT_FOUND": Absent,
    "RESOURCE_ALREADY_EXISTS": Present,
    "ALREADY_EXISTS": Present,
    "INVALID_PARAMETER_VALUE": ReviewLMError,
    "BAD_REQUEST": ReviewLMError,
    "INVALID_STATE": ReviewLMError,
}
"""Error by MLflow's code of a request that it refuses."""
Answer = TypeVar("Answer")


def quiet() -> None:
    """Turn off MLflow's telemetry, progress bars and messages unless the user wants them, and what is in `FIXED`."""
    fix({name: value for name, value in FIXED.items() if name.startswith("MLFLOW_")})
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(os.environ.get("MLFLOW_LOGGING_LEVEL", "WARNING"))
    # MLflow writes a traceback for each statement that its database refuses; our error says what the matter is.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=r"mlflow(\.|$)")


def open_client(uri: str, artifact_root: Path | None = None) -> MlflowClient:
    """Return a client of the store at *uri*; create the tables of an empty database first, in one process only.

    Args:
        uri: Address of the store.
        artifact_root: Artifact folder of a new store's experiment `Default`, which MLflow would put into the working
            directory. None: `mlartifacts` beside a SQLite file, or else there.

    Raises:
        TrackingUnavailable: The server or database does not answer.
        NotWritable, StoreFull: The database cannot be created.
        Damaged, ArtifactError: The database is damaged, or not of the installed MLflow version.
    """
    quiet()
    with reaching(uri):
        import mlflow

        quiet()  # importing MLflow sets its own log levels
        register()
        if not has_tables(uri):
            file = database_file(uri)
            _create(
                uri,
                artifact_root or (file or Path("mlflow.db")).absolute().parent / ARTIFACTS,
                file,
            )
        return mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)


def _create(
    uri: str,
    artifact_root: Path,
    file: Path | None = None,
) -> None:
    """Create the tables of an empty database, with the experiment `Default` below an artifact folder.

    Those of a file are created under a lock: two migrations at the same time would break each other.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    if file is None:
        SqlAlchemyStore(uri, new_address(uri, artifact_root))
        return

    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise NotWritable(
            "The folder of the tracking database is a file", where=file.parent
        ) from error

    address = new_address(uri, artifact_root)
    with FileLock(f"{file}.lock"):
        alike = not file.exists() and address == RELATIVE  # what else would stand in it
        copied = alike and place_copy("mlflow", newest_tables(), file)
        with closing(sqlite3.connect(file)) as connection:
            if copied:
                now = round(1000 * time.time())
                connection.execute(f"UPDATE {MADE_BY_MLFLOW} SET creation_time = {now}")
                connection.execute(f"UPDATE {MADE_BY_MLFLOW} SET last_update_time = {now}")
                connection.commit()
            # It lets readers (the UI) and one writer work at the same time.
            connection.execute("PRAGMA journal_mode=WAL")
        SqlAlchemyStore(uri, address)
        if alike and not copied:
            keep_copy("mlflow", file)


def require_whole(uri: str) -> None:
    """Raise an error if a database is damaged, unusable or of another version; create and change nothing.

    A database that does not answer is no error: writes wait for it.
    """
    with suppress(TrackingUnavailable), reaching(uri):
        has_tables(uri)


@contextmanager
def reaching(uri: str) -> Iterator[None]:
    """Turn errors of MLflow and of its bucket into the project's own: TrackingUnavailable if a retry can help.

    Wrong credentials become NotAuthorized. It is a subclass of TrackingUnavailable, because queued writes can wait for
    correct credentials.
    """
    with disk_errors(without_password(uri)):
        try:
            yield
        except ReviewLMError:
            raise
        except ModuleNotFoundError as error:
            if (error.name or "").split(".")[0] not in BUCKETS:
                raise
            raise ArtifactError(
                "MLflow's artifacts are in a bucket, and the package for it is missing",
                where=uri,
                value=error.name,
                remedy=install_command("s3"),
            ) from error
        except Exception as error:
            if not _is_from(error, ORIGINS):
                raise
            raise _translate(error, uri) from error


def _translate(error: Exception, uri: str) -> ReviewLMError:
    code = str(getattr(error, "error_code", ""))
    cause = next(iter(str(error).splitlines()), type(error).__name__)[:300]
    file = database_file(uri)
    local = file is not None and not _is_denied(error, code)
    others = ""
    if file is not None:
        others = interference(file)

    if local and (refused := disk_error_in(str(error).splitlines(), uri)) is not None:
        refused.cause = "; ".join(filter(None, (refused.cause, others)))
        return refused  # the disk of another machine may have space again later
    if any(words in str(error) for words in DAMAGED + INCOMPLETE):
        return damage_error(uri, cause)
    if code in REFUSED:
        return REFUSED[code](
            "MLflow refused the request",
            where=uri,
            value=code,
            cause=cause,
        )
    if _is_denied(error, code):
        return NotAuthorized(
            "MLflow, or the bucket of its artifacts, rejects the credentials",
            where=uri,
            value=code or type(error).__name__,
            cause=cause,
            remedy="set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD (PostgreSQL: ~/.pgpass or PGPASSWORD; "
            "S3: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY), or ask for the permission",
        )

    what = "MLflow cannot be reached"
    remedy = "start the server (`reviewlm services start`), or leave the address empty for the local database"
    if file is not None and "locked" in cause:
        what = "The tracking database is locked"
        remedy = (
            "wait until the program that holds it has ended, or end it; then repeat the command"
        )
    elif _is_from(error, BUCKETS):
        what = "The bucket of MLflow's artifacts cannot be used"
        remedy = "check that it exists and that this machine reaches it (S3: AWS_ENDPOINT_URL)"

    return TrackingUnavailable(
        what,
        where=uri,
        value=code or type(error).__name__,
        cause="; ".join(filter(None, (cause, others))),
        remedy=remedy,
    )


def _is_denied(error: Exception, code: str) -> bool:
    """Return whether the credentials are wrong; errors of artifact requests have an HTTP status and no MLflow code."""
    status = getattr(getattr(error, "response", None), "status_code", 0)
    return (
        code in DENIED
        or status in DENIED_STATUS
        or any(words in str(error) for words in DENIED_WORDS)
    )


def _is_from(error: BaseException | None, origins: tuple[str, ...]) -> bool:
    """Return whether the class of an error, or a class that it extends, is from one of these packages."""
    return any(base.__module__.split(".")[0] in origins for base in type(error).__mro__)


class Connection:
    """A connection that opens on first use, and works in several threads and processes at once.

    Args:
        uri: `sqlite:///ABSOLUTE/FILE`, `postgresql://…`, or the address of an MLflow server.
        experiment: Created if it does not exist.
        artifact_root: Artifact folder of a store without a server. Its parent folder also holds the registry's lock and
            the queued writes.
    """

    def __init__(
        self,
        uri: str,
        experiment: str,
        artifact_root: Path,
    ) -> None:
        self.uri = uri
        self.experiment = experiment
        self.artifact_root = Path(artifact_root).absolute()
        self._client: MlflowClient | None = None
        self._experiment_id = ""
        self._whole = False
        self._lock = threading.RLock()

    @property
    def pages_answer(self) -> bool:
        """Whether the pages at `ui` are of this store: of a named server, or of a service of this home that runs.

        At the port of a service that does not run, another program's MLflow may answer.
        """
        if os.environ.get(UI_VARIABLE) or self.uri.startswith("http"):
            return True
        return any(service.name == "mlflow" for service in running(self.artifact_root.parent))

    @property
    def ui(self) -> str:
        """Address of the MLflow UI: REVIEWLM_MLFLOW_URL, else the server, else that of this home's services."""
        named = os.environ.get(UI_VARIABLE) or (self.uri if self.uri.startswith("http") else "")
        return (named or address_of(self.artifact_root.parent, "mlflow")).rstrip("/")

    @property
    def runs_page(self) -> str:
        """Address of the page with the runs of the experiment: the figures of each, and what the gate decided."""
        return self.page(f"experiments/{self.experiment_id}/runs", "viewStateShareKey=runs")

    @property
    def models_page(self) -> str:
        """Address of the page with the curves and figures of all fitted models beside each other."""
        return self.page(
            f"experiments/{self.experiment_id}/runs",
            "viewStateShareKey=models",
            "compareRunsMode=CHART",
        )

    def registry_page(self, model: str) -> str:
        """Return the address of the page of a registered model: its versions, their aliases, and why each is what it is."""
        return self.page(f"models/{quote(model, safe='')}")

    def version_page(self, model: str, number: int) -> str:
        """Return the address of the page of a version of a registered model."""
        return self.page(f"models/{quote(model, safe='')}/versions/{number}")

    def page(self, path: str, *queries: str) -> str:
        """Return the address of a page of the MLflow UI, in its view for trained models."""
        return f"{self.ui}/#/{path}?{'&'.join((TRAINING_VIEW, *queries))}"

    @property
    def shown(self) -> str:
        """Address of the store without its password, for display."""
        return without_password(self.uri)

    @property
    def client(self) -> MlflowClient:
        """MLflow's client of this store; call it inside `with tracker.reaching():`."""
        with self._lock:
            if self._client is None:
                self._client = open_client(self.uri, self.artifact_root)
                note_opened(self.uri)
            return self._client

    def require_whole(self) -> None:
        """Check once, without importing MLflow, that a SQLite file is whole and current (`client.require_whole`)."""
        if not self._whole and database_file(self.uri):
            require_whole(self.uri)
        self._whole = True

    @contextmanager
    def reaching(self) -> Iterator[MlflowClient]:
        """Yield the client and turn its errors into the project's own."""
        client = self.client
        require_same(self.uri)
        with reaching(self.uri):
            yield client

    def ask(self, request: Callable[[MlflowClient], Answer]) -> Answer:
        """Return the answer to a request that reads or sets entries, which is repeated after short pauses.

        It is also repeated after a conflict: MLflow checks whether an entry exists and then inserts it. If two machines
        do this at the same time, the slower one finds the entry on its second try.

        Raises:
            TrackingUnavailable: MLflow does not answer.
        """
        for pause in (*READ_PAUSES, None):
            try:
                with self.reaching() as client:
                    return request(client)
            except ReviewLMError as error:
                away = isinstance(error, TrackingUnavailable) and self.worth_waiting(error)
                if pause is None or not (
                    away or "unique constraint" in str(error.__cause__).lower()
                ):
                    raise
                time.sleep(pause)

        raise AssertionError("unreachable")

    def all(self, search: str, *where: object, **options: object) -> Iterator[Any]:
        """Yield the entries of all pages of the answer to a search, named as MLflow's client names it."""

        def page_after(token: str | None) -> Any:
            return self.ask(
                lambda client: getattr(client, search)(*where, **options, page_token=token)
            )

        token = None
        while True:
            entries = page_after(token)
            yield from entries
            if not entries.token:
                return
            if entries.token == token:
                raise TrackingUnavailable(
                    "MLflow's answer has no end: its next page is the same page",
                    where=self.uri,
                    remedy="look at the server, and at a proxy before it",
                )
            token = entries.token

    def may_come_back(self, error: TrackingUnavailable) -> bool:
        """Return whether a write may wait: the store is no local file, or it is locked, or what failed is a bucket."""
        return (
            database_file(self.uri) is None
            or "locked" in error.cause
            or _is_from(error.__cause__, BUCKETS)
        )

    def worth_waiting(self, error: TrackingUnavailable) -> bool:
        """Return whether the store may soon answer without user action; False if the credentials are wrong."""
        return self.may_come_back(error) and not isinstance(error, NotAuthorized)

    def answers(self) -> bool:
        """Return whether MLflow answers now."""
        with suppress(ReviewLMError), self.reaching() as client:
            client.search_experiments(max_results=1)
            return True
        return False

    @property
    def experiment_id(self) -> str:
        """Id of the experiment, which is created, or restored after a deletion, if needed."""
        with self._lock:
            if not self._experiment_id:
                self._experiment_id = self._open_experiment()
            return self._experiment_id

    def _open_experiment(self) -> str:
        place = None
        if not self.uri.startswith("http"):
            place = new_address(self.uri, self.artifact_root)

        with self.reaching() as client:
            experiment = client.get_experiment_by_name(self.experiment)
            if experiment is None:
                with suppress(Present), reaching(self.uri):  # another process was faster
                    client.create_experiment(
                        self.experiment, artifact_location=place, tags={NOTE: ABOUT, **TAGS}
                    )
                experiment = client.get_experiment_by_name(self.experiment)
            assert experiment is not None
            if experiment.lifecycle_stage == "deleted":
                client.restore_experiment(experiment.experiment_id)
            for name, value in TAGS.items():
                shows_a_retrain = name == MODELS_VIEW and name in experiment.tags
                if experiment.tags.get(name) != value and not shows_a_retrain:
                    client.set_experiment_tag(experiment.experiment_id, name, value)
            return str(experiment.experiment_id)

    def show_models_of(
        self,
        retrain: str,
        most_bits: float | None = None,
        adaptation: str = "",
    ) -> None:
        """Let the page of models show those of one retrain: the runs with this value of the tag `retrain`.

        Args:
            most_bits: Most bits per byte of a model that is shown: the bars of one with far more would leave no room for
                those of all others, and MLflow has no limit of an axis of bars. The page shows the condition, and
                without it all models. None: all.
            adaptation: How the models that are shown adapt, or "static": in one chart, gains over a baseline that adapts
                would stand beside gains over one that does not. "": all.
        """
        condition = f"tags.`{RETRAIN}` = '{retrain}'"
        if adaptation:
            condition += f" and tags.`{stored_name(ADAPTATION)}` = '{adaptation}'"
        if most_bits is not None:
            condition += f" and metrics.`test/{BITS.name}` < {most_bits:.3f}"

        view = {**VIEWS["models"], "searchFilter": condition}
        experiment = self.experiment_id
        self.ask(
            lambda client: client.set_experiment_tag(experiment, MODELS_VIEW, json.dumps(view))
        )

    def newest_run(
        self,
        tag: str,
        value: str,
        status: str = "",
    ) -> Run | None:
        """Return the newest run with this tag (and status), with all its tags, or None if there is none.

        The value must hold no quotes: MLflow's filter language has no escape character.
        """
        condition = f" and attributes.status = '{status}'" if status else ""
        where = f"tags.`{stored_name(tag)}` = '{value}'{condition}"
        order = ["attributes.start_time DESC"]
        runs = self.ask(
            lambda client: client.search_runs(
                [self.experiment_id], where, max_results=1, order_by=order
            )
        )
        return runs[0] if runs else None
