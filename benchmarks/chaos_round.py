"""One sweep that is killed at random moments and taken up again until it has ended."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from benchmarks.chaos_facts import Fact, count_openings, journal_facts, mlflow_facts, read_events
from benchmarks.process import descendants, free_port, own_environment

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["PHASES", "Killed", "Moment", "Round", "Server", "Step", "draw_moments", "read_timeline"]

SWEEP = """\
name: chaos
data:
  source: simulated
  simulated: {{n_images: 120, image_size: 24, class_proportions: equal}}
hypermodel: benchmarks.chaos_network:{network}
training: {{epochs: 3, precision: float32, deterministic: true}}
search: {{max_trials: 4, seed: 3, first_rung: 1, reduction_factor: 2}}
execution: {{threads: 1}}
tracking: {{experiment: {name}, uri: "{uri}"}}
registry: {{model: {name}, finalists: 1, seeds: 2}}
"""

PHASES = {"start": 2, "search": 4, "finalists": 2, "held-out test": 1, "registration": 2, "promotion and end": 1}
"""Of a sweep, and how often each is chosen for a kill."""

_BEGINS = {
    "sweep_started": "search",
    "finalists_chosen": "finalists",
    "winner_chosen": "held-out test",
    "sealed_test_opened": "registration",
    "model_registered": "promotion and end",
}
"""The event that a phase begins with; of several of one kind the last."""

_VICTIMS = {
    ("driver",): 9,
    ("worker",): 4,
    ("server",): 4,
    ("driver", "server"): 1,
    ("worker", "server"): 1,
    ("driver", "worker"): 1,
    ("driver", "worker", "server"): 1,
}
"""Who is killed together, and how often."""

_WITHOUT_WORKER = ("held-out test", "registration", "promotion and end")
_POLL_SECONDS = 0.01
_MAX_STARTS = 12
_START_SECONDS, _SWEEP_SECONDS = 300.0, 900.0
"""How long a server may take to answer and a process of a sweep to end, before that is called a failure."""


class ChaosError(Exception):
    """A server or a sweep did not do what even a killed one must; says which and where its output is."""


@dataclass(frozen=True, slots=True)
class Step:
    """One event of an uninterrupted sweep."""

    event: str
    """The journal's name of it; "" for the start of the process."""
    count: int
    """How many of the kind there were, with this one."""
    phase: str
    seconds: float
    """Until the next event, or the end of the process."""


@dataclass(frozen=True, slots=True)
class Moment:
    """When to kill whom: some seconds after an event."""

    event: str
    """The journal's name of it; "" for the start of the process that runs then."""
    count: int
    phase: str
    delay: float
    """Seconds after the event."""
    victims: tuple[str, ...]
    """Of driver, worker and server."""
    down: float | None
    """Seconds until the server is started again; None: when the sweep's process has ended."""


@dataclass(frozen=True, slots=True)
class Killed:
    """What came of a moment."""

    phase: str
    victims: list[str]
    """Those that lived at the moment."""
    event: str
    delay: float


def read_timeline(events: Sequence[dict[str, Any]], started: float, ended: float) -> list[Step]:
    """The steps of an uninterrupted sweep.

    Args:
        events: of its journal.
        started: when its process was started, seconds since 1970.
        ended: when it ended.
    """
    last = {event["event"]: position for position, event in enumerate(events)}
    times = [started, *(event["time"] for event in events), ended]
    phase, steps, counts = "start", [Step("", 1, "start", times[1] - times[0])], Counter[str]()
    for position, event in enumerate(events):
        kind = event["event"]
        if kind in _BEGINS and last[kind] == position:
            phase = _BEGINS[kind]
        counts[kind] += 1
        steps.append(Step(kind, counts[kind], phase, times[position + 2] - times[position + 1]))
    return steps


def draw_moments(timeline: Sequence[Step], rng: random.Random) -> list[Moment]:
    """One to three moments in the order of the timeline: a phase, one of its events, and somewhere until the next.

    One in four of those after the first comes while the process that resumes the sweep is starting.
    """
    phases = [phase for phase in PHASES if any(step.phase == phase for step in timeline)]
    places = []
    for _ in range(rng.choices((1, 2, 3), (5, 4, 1))[0]):
        (phase,) = rng.choices(phases, [PHASES[phase] for phase in phases])
        places.append(rng.choice([position for position, step in enumerate(timeline) if step.phase == phase]))
    moments = []
    for order, place in enumerate(sorted(places)):
        step = timeline[0] if order and rng.random() < 0.25 else timeline[place]
        (victims,) = rng.choices(list(_VICTIMS), list(_VICTIMS.values()))
        if step.phase in _WITHOUT_WORKER and "worker" in victims:
            victims = tuple(who for who in victims if who != "worker") or ("driver",)
        down = rng.choice((0.0, 1.0, 4.0, None))
        moments.append(Moment(step.event, step.count, step.phase, rng.random() * step.seconds, victims, down))
    return moments


class Server:
    """`mlflow server` over HTTP with SQLite and a folder of artifacts, on a port of its own; may be killed.

    Without its background jobs, which no sweep uses and which take seven processes more to start.

    Args:
        folder: of its own, made if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Without waiting until it answers; without effect while it lives."""
        if self._process is not None and self._process.poll() is None:
            return
        command = ["mlflow", "server", "--host", "127.0.0.1", "--port", str(self._port), "--workers", "1"]
        stores = ["--backend-store-uri", "sqlite:///store.db", "--artifacts-destination", "artifacts"]
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *command, *stores],
                cwd=self._folder,
                env=own_environment() | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait(self) -> None:
        """Starts it if need be, and returns when it answers.

        Raises:
            ChaosError: it does not.
        """
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            self.start()
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=5):
                    return
            except OSError:
                time.sleep(0.1)
        raise ChaosError(f"mlflow server does not answer; see {self._folder / 'server.log'}")

    def kill(self) -> bool:
        """kill -9 of all its processes; returns whether it lived."""
        if self._process is None or self._process.poll() is not None:
            return False
        for process in reversed(descendants(self._process.pid)):
            _kill(process)
        self._process.wait()
        return True


@dataclass
class Round:
    """A sweep in a folder of its own, run by the command line as a user would, and its end.

    Args:
        folder: made; holds the project.
        server: lives on after the round.
        name: of its experiment and its registered model in the server's store.
        stopping: once set, the sweep is killed and given up.
        network: a class of `chaos_network`.
    """

    folder: Path
    server: Server
    name: str
    stopping: threading.Event = field(default_factory=threading.Event)
    network: str = "TinyNetwork"
    killed: list[Killed] = field(default_factory=list)
    starts: int = 0
    trouble: list[str] = field(default_factory=list)
    """Tracebacks, exit codes without a cause, processes that outlived their driver."""
    timeline: list[Step] = field(default_factory=list)
    """Of the last process, where there was no kill."""
    continued: int = 0
    """Attempts that began with a checkpoint."""
    openings_before: int = 0
    """How often earlier rounds on this server opened the test set, which is the same for all."""

    def play(self, moments: Sequence[Moment], sync: bool = False) -> list[Fact]:
        """Runs, kills and resumes the sweep to its end; returns what is known of it then.

        Args:
            moments: in order.
            sync: whether to call `galaxy-exp sync` at the end, which must change nothing.

        Raises:
            ChaosError: it does not end.
        """
        self.folder.mkdir(parents=True)
        (self.folder / "sweep.yaml").write_text(SWEEP.format(name=self.name, uri=self.server.uri, network=self.network))
        self.server.wait()
        self.openings_before = count_openings(self._client())
        waiting, watched = deque(moments), list[psutil.Process]()
        while not self._has_ended():
            if self.trouble or self.starts == _MAX_STARTS:
                raise ChaosError(f"{self.folder}: not at its end after {self.starts} starts")
            self.server.wait()
            self.starts += 1
            self._run(["resume"] if self._journal() else ["sweep", "sweep.yaml"], waiting, watched)
        self.server.wait()
        if sync:
            self._run(["sync"], deque(), watched)
        _, alive = psutil.wait_procs(watched, timeout=10)
        self.trouble += [f"process {process.pid} outlived its driver" for process in alive]
        begun = [event for event in self._events() if event["event"] == "trial_started"]
        self.continued = sum(event.get("from_epoch", 0) > 0 for event in begun)
        return self._facts()

    def _journal(self) -> Path | None:
        """The sweep's, once it has its first line."""
        found = self.folder.glob(".galaxy_exp/sweeps/*/journal.jsonl")
        return next((journal for journal in found if b"\n" in journal.read_bytes()), None)

    def _events(self) -> list[dict[str, Any]]:
        journal = self._journal()
        return read_events(journal) if journal else []

    def _phase(self) -> str:
        return read_timeline(self._events(), 0.0, 0.0)[-1].phase

    def _has_ended(self) -> bool:
        return any(event["event"] == "sweep_ended" and event["succeeded"] for event in self._events())

    def _client(self) -> MlflowClient:
        from mlflow import MlflowClient

        return MlflowClient(self.server.uri)

    def _facts(self) -> list[Fact]:
        journal = self._journal()
        assert journal is not None
        sweep = journal.parent
        before = self.openings_before
        return journal_facts(sweep, before) + mlflow_facts(self._client(), self.name, self.name, sweep.name, before)

    def _run(self, command: list[str], waiting: deque[Moment], watched: list[psutil.Process]) -> None:
        """One process of the sweep, and the moments that come while it lives."""
        log = self.folder / f"{self.starts}-{command[0]}.log"
        began = time.time()
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "galaxy_exp", *command],
                cwd=self.folder,
                env={"COLUMNS": "160", **own_environment()},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
        try:
            disturbed = self._attend(process, waiting, watched)
        finally:
            process.kill()
        ended, text = time.time(), log.read_text(errors="replace")
        if "Traceback (most recent call last)" in text:
            self.trouble.append(f"{log}: traceback")
        elif process.returncode != 0 and not disturbed:
            self.trouble.append(f"{log}: exit code {process.returncode}")
        if self.starts == 1 and not self.killed:
            self.timeline = read_timeline(self._events(), began, ended)

    def _attend(self, process: subprocess.Popen[bytes], waiting: deque[Moment], watched: list[psutil.Process]) -> bool:
        """Waits until the process has ended, killing at the moments; returns whether a kill explains a bad end."""
        began = time.monotonic()
        reached: float | None = None
        server_back: float | None = None
        disturbed = False
        while process.poll() is None:
            now = time.monotonic()
            if self.stopping.is_set():
                raise ChaosError(f"{self.folder}: given up")
            if now - began > _SWEEP_SECONDS:
                raise ChaosError(f"{self.folder}: process {process.pid} does not end")
            if server_back is not None and now >= server_back:
                self.server.start()
                server_back = None
            if waiting and reached is None and self._is_reached(waiting[0]):
                reached = began if not waiting[0].event else now
            if waiting and reached is not None and now >= reached + waiting[0].delay:
                moment, reached = waiting.popleft(), None
                victims = self._kill(process, moment, watched)
                if "server" in victims:
                    server_back = now + moment.down if moment.down is not None else None
                disturbed = disturbed or bool({"driver", "server"} & set(victims))
            time.sleep(_POLL_SECONDS)
        return disturbed

    def _is_reached(self, moment: Moment) -> bool:
        if not moment.event:
            return True
        journal = self._journal()
        return journal is not None and journal.read_bytes().count(f'"event":"{moment.event}"'.encode()) >= moment.count

    def _kill(self, process: subprocess.Popen[bytes], moment: Moment, watched: list[psutil.Process]) -> list[str]:
        """kill -9 of the moment's victims; returns those that lived."""
        children, phase = descendants(process.pid)[1:], self._phase()
        watched += children
        killed = []
        if "server" in moment.victims and self.server.kill():
            killed.append("server")
        if "worker" in moment.victims and sum(_kill(child) for child in children):
            killed.append("worker")
        if "driver" in moment.victims and process.poll() is None:
            process.kill()
            process.wait()
            killed.append("driver")
        self.killed.append(Killed(phase, killed, moment.event, round(moment.delay, 3)))
        return killed

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        killed = [asdict(one) for one in self.killed]
        return {"killed": killed, "starts": self.starts, "continued": self.continued, "trouble": self.trouble}


def _kill(process: psutil.Process) -> bool:
    try:
        process.send_signal(signal.SIGKILL)
    except psutil.NoSuchProcess:
        return False
    return True
