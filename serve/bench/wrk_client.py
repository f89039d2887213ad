"""The load client wrk (https://github.com/wg/wrk): in C, so it takes less of the processor than Python can."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

from serve.bench.burst import MAX_BURST_S, MAX_REQUESTS, PERCENTILES, Burst, Load
from serve.errors import ServeError

# wrk runs `request` once to look at what it gives, then for each request, and `done` at the end; its latencies are
# microseconds. A connection's next request follows its answer at once, so the time of the last request is that of an
# answer, and all requests but `concurrency` had theirs by then. Up to there the rate is taken: of a server that answers
# many requests at a time, wrk's own end cuts off any share of the next many.
SCRIPT = """
local ffi = require("ffi")
ffi.cdef[[struct timespec {{ long seconds, nanoseconds; }}; int clock_gettime(int, struct timespec *);]]
local clock, MONOTONIC = ffi.new("struct timespec"), {monotonic}
local threads = {{}}
function setup(thread) table.insert(threads, thread) end
calls, first_s, last_s = -1, 0, 0
local number = {first_seed}
local last = number + {max_requests}
local headers = {{ ["Content-Type"] = "application/json" }}
local classes = {classes}
function request()
  ffi.C.clock_gettime(MONOTONIC, clock)
  last_s = tonumber(clock.seconds) + tonumber(clock.nanoseconds) / 1e9
  if calls <= 0 then first_s = last_s end
  calls = calls + 1
  local body
  if classes > 0 then
    body = string.format('{{"n": {images}, "seed": %d, "class": %d}}', number, number % classes)
  else
    body = string.format('{{"n": {images}, "seed": %d}}', number)
  end
  number = number + 1
  if number >= last then wrk.thread:stop() end
  return wrk.format("POST", "{path}", headers, body)
end
function done(summary, latency, requests)
  local e, thread = summary.errors, threads[1]
  io.write(string.format(
    '\\n{{"requests": %d, "seconds": %f, "calls": %d, "calls_s": %f, "p": [{p_formats}], "status": %d, ' ..
    '"connect": %d, "read": %d, "write": %d, "timeout": %d}}\\n',
    summary.requests, summary.duration / 1e6, thread:get("calls"), thread:get("last_s") - thread:get("first_s"),
    {p_values}, e.status, e.connect, e.read, e.write, e.timeout))
end
"""
ERRORS = ("status", "connect", "read", "write", "timeout")
END_S = 10.0


class WrkClient:
    """Bursts by wrk with one thread. It counts statuses above 399 as errors and does not look into bodies."""

    name = "wrk"

    def __call__(self, load: Load) -> Burst:
        """As `Client`; `seconds` becomes whole ones, at least 1, which is all that wrk takes.

        Raises:
            ServeError: wrk did not run to its end.
        """
        parts = urlsplit(load.url)
        seconds = min(max(1, round(load.seconds)), int(MAX_BURST_S))
        script = SCRIPT.format(
            first_seed=load.first_seed,
            max_requests=MAX_REQUESTS,
            classes=load.classes,
            images=load.images,
            path=parts.path,
            monotonic=time.CLOCK_MONOTONIC,
            p_formats=", ".join(["%f"] * len(PERCENTILES)),
            p_values=", ".join(f"latency:percentile({p})" for p in PERCENTILES),
        )
        with tempfile.TemporaryDirectory(prefix="sngan-wrk-") as folder:
            file = Path(folder) / "requests.lua"
            file.write_text(script, encoding="ascii")
            command = ["wrk", "-t1", f"-c{load.concurrency}", f"-d{seconds}s", f"--timeout={MAX_BURST_S:.0f}s"]
            before = _children_cpu_s()
            try:
                ended = subprocess.run(
                    [*command, "-s", str(file), f"{parts.scheme}://{parts.netloc}"],
                    capture_output=True,
                    text=True,
                    timeout=seconds + MAX_BURST_S + END_S,
                    check=False,
                )
            except subprocess.TimeoutExpired as error:
                raise ServeError(f"wrk did not end within {error.timeout:.0f} s") from error
            cpu_s = _children_cpu_s() - before
        return _read(ended, load, cpu_s)


def wrk_is_here() -> bool:
    """Whether the program is on the PATH."""
    return shutil.which("wrk") is not None


def _children_cpu_s() -> float:
    """Processor time of the programs that this process has run and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _read(ended: subprocess.CompletedProcess[str], load: Load, cpu_s: float) -> Burst:
    try:
        found = json.loads(ended.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError) as error:
        said = (ended.stderr.strip() or ended.stdout.strip() or "nothing").splitlines()[-1]
        raise ServeError(f"wrk ended with code {ended.returncode} and without figures: {said}") from error
    good, seconds = found["requests"] - found["status"], found["seconds"]
    answered = found["calls"] - load.concurrency
    if answered > 0:
        good, seconds = round(good * answered / found["requests"]), found["calls_s"]
    return Burst(
        requests=good,
        images=good * load.images,
        seconds=seconds,
        latency_ms={p: us / 1000 for p, us in zip(PERCENTILES, found["p"], strict=True)},
        errors={name: found[name] for name in ERRORS if found[name]},
        client_cpu_s=cpu_s,
    )
