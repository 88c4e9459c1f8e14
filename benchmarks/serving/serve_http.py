"""Measure `reviewlm serve` over HTTP, beside `mlflow models serve` with the same registered model.

    python -m benchmarks.serving.serve_http --quick
    python -m benchmarks.serving.serve_http --write

The model is an LSTM of two layers of 650 with a vocabulary of 8,971 words of made-up reviews; see `made_home.py`. Both
servers are started as a user starts them on two cores, ours as one process with two threads, MLflow's as two workers
with one thread, and get the same requests over 64 connections: prompt, rating, temperature, top_p and length are equal,
and each request has its own seed. Each server is warmed up by one short request on every connection. The client is this
process (`http_load.py`).

    whole     answers at once, the defaults of the server (temperature 0.8, top_p 0.95)
    plain     answers at once from the whole distribution (temperature 1)
    stream    server-sent events, defaults
    first     32 streams: milliseconds from a request to its first text
    clients   one client, then 32, with the same requests; their texts must be the same
    float32   whole, stream and clients again, of a version whose texts are written in float32 (as on a processor
              without AVX2), and whole from MLflow's server
    memory    resident memory after each quarter of the short requests of a long run

`--memory` measures only that, of a model of parts of words: completions with prompts of their own, scores, and texts
typed letter by letter. The limit of the saved states is low, so that it is reached early. After each tenth of the
requests it notes the memory and the size of the saved states.

`--streams 1000` also measures so many texts that are streamed at the same time, from a server with raised limits. The
goal is that the slowest of them has the 20 tokens per second of a reader.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import tempfile
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import Ratio, Report, arguments, finish, say
from benchmarks.serving.http_load import Answer, Load, post, send_all
from benchmarks.serving.made_home import NAME, made_bundle, made_texts, make_home
from benchmarks.serving.servers import CORES, Served, ours, peer

STREAMS = 64
FEW_STREAMS = 32
TOKENS = 200
GOAL = 8_000.0
PEER_GOAL = 20.0
FIRST_MS = 100.0
CLIENTS_GOAL = 5.0
CACHE_MIB = 16
QUICK_REQUESTS = 32
"""Requests to MLflow's server with --quick: with texts of 200 tokens, it takes half a minute for them."""
READER = 20
"""Tokens per second that a live text needs for a reader."""
SAMPLING = {
    "stars": 3,
    "temperature": 0.8,
    "top_p": 0.95,
}
PLAIN = {
    "stars": 3,
    "temperature": 1.0,
    "top_p": 1.0,
}
STREAMED = {"stream": True, "stream_options": {"include_usage": True}}
KINDS: dict[str, tuple[int, dict[str, Any]]] = {
    "whole": (STREAMS, SAMPLING),
    "stream": (STREAMS, {**SAMPLING, **STREAMED}),
    "plain": (STREAMS, PLAIN),
    "first": (FEW_STREAMS, {**SAMPLING, **STREAMED}),
}
"""Connections and options of each kind of load."""
FLOAT32 = "float32"
"""Name of the version whose texts are written in float32."""
AFTER_FLOAT32 = f", {FLOAT32}"
"""Ending of the names of the rows of this version."""
PROMPT = "The food was"


def completions(count: int, tokens: int, **options: Any) -> list[bytes]:
    """Return requests to our server; each has its own seed."""
    return [
        post(
            "/v1/completions",
            {
                "prompt": PROMPT,
                "max_tokens": tokens,
                "seed": seed,
                **options,
            },
        )
        for seed in range(1, count + 1)
    ]


def invocations(count: int, tokens: int, **options: Any) -> list[bytes]:
    """Return the same requests to MLflow's server."""
    rows = [{"text": PROMPT}]
    return [
        post(
            "/invocations",
            {
                "dataframe_records": rows,
                "params": {
                    "max_tokens": tokens,
                    "seed": seed,
                    **options,
                },
            },
        )
        for seed in range(1, count + 1)
    ]


def tokens_of(load: Load, each: int) -> int:
    """Return the number of generated tokens; every answer must be complete."""
    for answer in load.answers:
        if answer.status != 200:
            raise RuntimeError(f"status {answer.status}: {answer.body[:200]!r}")
        said = re.findall(rb'"completion_tokens":(\d+)', answer.body)
        complete = (
            int(said[-1]) == each if said else len(json.loads(answer.body)["predictions"]) == 1
        )
        if not complete:
            raise RuntimeError(f"incomplete: {answer.body[-200:]!r}")

    return each * len(load.answers)


def speed(
    served: Served,
    requests: Sequence[bytes],
    warm: Sequence[bytes],
    streams: int,
    tokens: int,
    rounds: int,
) -> dict[str, Any]:
    """Return the figures of the round in the upper quartile of tokens per second, and the range of all rounds.

    Another program on the machine can only slow a round down.
    """
    found: list[dict[str, Any]] = []
    for _ in range(rounds):
        send_all(served.port, warm, streams)
        before = served.cpu()
        load = send_all(served.port, requests, streams)
        count = tokens_of(load, tokens)
        used = served.cpu() - before
        found.append(
            {
                "tokens_per_s": round(count / load.seconds),
                "tokens_per_cpu_s": round(count / used),
                "first_p50_ms": load.first_ms(0.5),
                "first_p99_ms": load.first_ms(0.99),
                "slowest_text_per_s": slowest(load, tokens),
                "length": tokens,
            }
        )

    found.sort(key=lambda row: row["tokens_per_s"])
    chosen = found[min(len(found) - 1, 3 * len(found) // 4)]
    return {
        **chosen,
        "rounds": [found[0]["tokens_per_s"], found[-1]["tokens_per_s"]],
        "tokens": rounds * count,
    }


def slowest(load: Load, tokens: int) -> float:
    """Return the tokens per second of the text that took longest, from its request to its end."""
    return round(tokens / max(answer.ended - answer.sent for answer in load.answers), 1)


def measure_kinds(
    served: Served,
    rounds: int,
    names: Sequence[str],
    after: str = "",
) -> dict[str, dict[str, Any]]:
    """Return a row for each kind of load, under its name and *after*, and for one client and several."""
    rows: dict[str, dict[str, Any]] = {}
    for name in names:
        streams, options = KINDS[name]
        warm = completions(streams, 8, **options)
        asked = completions(2 * streams, TOKENS, **options)
        rows[name + after] = speed(
            served,
            asked,
            warm,
            streams,
            TOKENS,
            rounds,
        )
        say(f"{name}{after}: {rows[name + after]}")
    return rows | measure_clients(served, rounds, after)


def memory_of(served: Served, requests: int) -> dict[str, Any]:
    """Return the memory after each quarter of short requests."""
    quarters = []
    for _ in range(4):
        tokens_of(send_all(served.port, completions(requests // 4, 5, **SAMPLING), STREAMS), 5)
        quarters.append(served.mib())
    return {"requests": requests // 4 * 4, "mib": quarters}


def measure_memory(served: Served, requests: int) -> dict[str, Any]:
    """Return the memory and the size of the saved states after each tenth of mixed requests."""
    texts = made_texts(requests // 10)
    tenth = requests // 10
    mib: list[int] = []
    cache: list[int] = []
    done = 0
    for part in range(10):
        own = texts[part * (tenth // 10) :]
        begun = [
            post(
                "/v1/completions",
                {
                    "prompt": text[: 20 + part],
                    "max_tokens": 20,
                    "seed": part,
                    **SAMPLING,
                },
            )
            for text in texts[: tenth * 9 // 10]
        ]
        scored = [
            post("/score", {"texts": [text], "stars": 1 + part % 5})
            for text in texts[: tenth // 20]
        ]
        typed = [
            post(
                "/suggest",
                {
                    "prompt": text[:end],
                    "k": 3,
                    "stars": 5,
                },
            )
            for text in own[: max(1, tenth // 400)]
            for end in range(1, 31)
        ]
        for asked, connections in ((begun, STREAMS), (scored, 8), (typed, 2)):
            answers = send_all(served.port, asked, connections).answers
            if wrong := [answer for answer in answers if answer.status != 200]:
                raise RuntimeError(f"status {wrong[0].status}: {wrong[0].body[:200]!r}")
            done += len(answers)
        mib.append(served.mib())
        cache.append(int(_figure(served, "reviewlm_engine_cache_bytes")) >> 20)
        say(f"{done} requests: {mib[-1]} MiB, of which saved states {cache[-1]} MiB")

    return {
        "requests": done,
        "mib": mib,
        "cache_mib": cache,
    }


def _figure(served: Served, name: str) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{served.port}/metrics", timeout=60) as answer:
        return sum(
            float(line.rsplit(b" ", 1)[1]) for line in answer if line.startswith(name.encode())
        )


def measure_clients(
    served: Served,
    rounds: int,
    after: str,
) -> dict[str, dict[str, Any]]:
    """Return a row for one client and one for several that send the same requests.

    Raises:
        RuntimeError: A text depends on the number of clients.
    """
    rows: dict[str, dict[str, Any]] = {}
    asked = completions(FEW_STREAMS, TOKENS, **SAMPLING)
    texts = []
    for streams in (1, FEW_STREAMS):
        row = f"{streams} client{'s' * (streams > 1)}{after}"
        texts.append(sorted(map(text_of, send_all(served.port, asked, streams).answers)))
        rows[row] = speed(
            served,
            asked,
            asked[:streams],
            streams,
            TOKENS,
            rounds,
        )
        say(f"{row}: {rows[row]}")

    if texts[0] != texts[1]:
        raise RuntimeError(f"texts of one client and of {FEW_STREAMS} differ")

    return rows


def measure_streams(
    served: Served,
    streams: int,
    rounds: int,
) -> dict[str, Any]:
    """Return the row of so many texts that are streamed at the same time."""
    options = {**SAMPLING, **STREAMED}
    asked, warm = (completions(streams, tokens, **options) for tokens in (TOKENS, 8))
    return speed(
        served,
        asked,
        warm,
        streams,
        TOKENS,
        rounds,
    )


def raised_limits(streams: int) -> list[str]:
    """Let this process and its servers open so many connections; return the settings of such a server."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return [f"serving.max_streams={streams}", "serving.request_seconds=3600"]


def text_of(answer: Answer) -> str:
    """Return the text of a whole answer."""
    return str(json.loads(answer.body)["choices"][0]["text"])


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark and report."""
    parser = arguments(__doc__ or "")
    parser.add_argument(
        "--above",
        type=int,
        default=0,
        help="priority of all servers over other programs, 0 to 19",
    )
    parser.add_argument(
        "--streams", type=int, help="also measure so many streams, with raised limits"
    )
    parser.add_argument(
        "--memory", action="store_true", help="measure only the memory of our server"
    )
    args: argparse.Namespace = parser.parse_args(argv)
    if args.memory:
        return report_memory(args)

    with tempfile.TemporaryDirectory(prefix="reviewlm-serve-") as folder:
        home = Path(folder) / "home"
        bundle = made_bundle(made_texts(2_000 if args.quick else 40_000))
        make_home(home, bundle, int8_loss=0.0)
        make_home(home, bundle, FLOAT32)
        rows = measure_ours(home, args) | measure_peer(home, args)

    ratios = ratios_of(rows)
    if args.streams:
        slowest_text = rows[name_of_streams(args.streams)]["slowest_text_per_s"]
        ratio = round(slowest_text / READER, 2)
        ratios["streams.goal"] = Ratio(ratio, 1.0, f"{READER} tokens/s each")

    packages = ("torch", "numba", "uvicorn", "mlflow")
    notes = notes_of(requests_to_peer(args))
    finish(
        args,
        Report(
            "serve_http",
            "Generation over HTTP",
            rows,
            ratios,
            packages,
            notes,
        ),
    )


def requests_to_peer(args: argparse.Namespace) -> int:
    """Return the number of requests to MLflow's server."""
    return QUICK_REQUESTS if args.quick else STREAMS


def name_of_streams(streams: int) -> str:
    """Return the name of the row of so many live texts."""
    return f"{streams} streams"


def measure_ours(home: Path, args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return the rows of our server: each kind of load, its memory, many streams if asked for, and float32."""
    with ours(home, args.above) as served:
        rows = measure_kinds(served, args.repeats, tuple(KINDS))
        rows["memory"] = memory_of(served, 400 if args.quick else 10_000)
        say(f"memory: {rows['memory']}")

    if args.streams:
        name = name_of_streams(args.streams)
        rounds = 1 if args.quick else args.repeats
        with ours(home, args.above, *raised_limits(args.streams)) as served:
            rows[name] = measure_streams(served, args.streams, rounds)
            say(f"{name}: {rows[name]}")

    with ours(home, args.above, model=FLOAT32) as served:
        rows |= measure_kinds(served, args.repeats, ("whole", "stream"), AFTER_FLOAT32)

    return rows


def measure_peer(home: Path, args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return the rows of MLflow's server, with each of the two versions."""
    rows: dict[str, dict[str, Any]] = {}
    for model, after in ((NAME, ""), (FLOAT32, AFTER_FLOAT32)):
        with peer(home, args.above, model) as served:
            requests = invocations(requests_to_peer(args), TOKENS, **SAMPLING)
            warm = invocations(STREAMS, 2, **SAMPLING)
            name = f"mlflow models serve{after}"
            rows[name] = speed(
                served,
                requests,
                warm,
                STREAMS,
                TOKENS,
                1,
            )
            say(f"{name}: {rows[name]}")

    return rows


def ratios_of(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Ratio]:
    """Return how our server stands to MLflow's, to its goals, to itself with one client, and in memory."""

    def ratio(
        one: str,
        other: str,
        goal: float,
    ) -> Ratio:
        return Ratio(round(rows[one]["tokens_per_s"] / rows[other]["tokens_per_s"], 1), goal, other)

    ratios = {}
    for after in ("", AFTER_FLOAT32):
        peer_name = f"mlflow models serve{after}"
        ratios[f"whole{after}.mlflow"] = ratio(f"whole{after}", peer_name, PEER_GOAL)

    for name in ("whole", "plain", "stream"):
        of_goal = round(rows[name]["tokens_per_s"] / GOAL, 2)
        ratios[f"{name}.goal"] = Ratio(of_goal, 1.0, f"{GOAL:,.0f} tokens/s")

    for after in ("", AFTER_FLOAT32):
        several = f"{FEW_STREAMS} clients{after}"
        ratios[f"clients{after}"] = ratio(several, f"1 client{after}", CLIENTS_GOAL)

    first = round(FIRST_MS / rows["first"]["first_p99_ms"], 2)
    ratios["first.goal"] = Ratio(first, 1.0, f"{FIRST_MS:.0f} ms")
    mib = rows["memory"]["mib"]
    ratios["memory.flat"] = Ratio(round(mib[0] / mib[-1], 3), 0.98, "first quarter")
    return ratios


def notes_of(requests: int) -> tuple[str, ...]:
    """Return what a reader of the figures must know; *requests*: their number at MLflow's server."""
    return (
        "The weights are drawn, not trained, and as sure of the next word as a trained model (perplexity 80).",
        f"Our server is one process with {CORES} threads, MLflow's {CORES} workers with one thread each; both have the "
        "priority of `--above`. Both write in int8 where the processor has AVX2, one text at a time in MLflow's.",
        f"Texts of both servers have {TOKENS} tokens, those of the memory 5. A round has {2 * STREAMS} texts, of the "
        f"clients {FEW_STREAMS}; MLflow's server had {requests}. `slowest_text_per_s`: tokens per second of the text "
        "that took longest.",
    )


def report_memory(args: argparse.Namespace) -> None:
    """Measure the memory of our server and report."""
    with tempfile.TemporaryDirectory(prefix="reviewlm-serve-") as folder:
        home = Path(folder) / "home"
        make_home(home, made_bundle(made_texts(2_000), 4_000, unit="bpe"), int8_loss=0.0)
        with ours(home, args.above, f"serving.cache_megabytes={CACHE_MIB}") as served:
            found = measure_memory(served, 400 if args.quick else 10_000)

    flat = Ratio(round(found["mib"][4] / found["mib"][-1], 3), 0.98, "half of the requests")
    notes = (
        f"An LSTM of two layers of 650 with BPE of 4,000 entries; one process with {CORES} threads and "
        f"serving.cache_megabytes={CACHE_MIB}: at most {CACHE_MIB} MiB of saved states, a quarter more for searches.",
    )
    packages = ("torch", "numba", "uvicorn")
    ratios = {"memory.flat": flat}
    finish(
        args,
        Report(
            "serve_http",
            "Memory of the server",
            {"memory": found},
            ratios,
            packages,
            notes,
            "memory",
        ),
    )


if __name__ == "__main__":
    main()
