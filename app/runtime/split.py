"""The parent of a service of several processes: front ends that answer requests, engines that run models, and what is
around them. It loads no model, and nothing that could.
"""

from __future__ import annotations

import queue
import secrets
import socket
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

from app.embedded import Addresses
from app.observability.shared_metrics import SharedMetrics
from app.runtime.child_pipes import write_settings
from app.runtime.children import Child, Pauses
from app.runtime.job_processes import MAX_WAIT_SECONDS, job_processes
from app.runtime.listening import url_of
from app.runtime.names import METRICS, TALLIES
from app.runtime.plan import Plan, engine_settings, front_end_settings
from app.runtime.resources import ServiceResources, StartOnce
from app.runtime.saying import err, say, say_listening, say_not_loaded, say_ready
from app.runtime.stopping import FORCED, Stop
from app.settings import Settings
from app.storage.tallies import Tallies

_LOOK_SECONDS = 0.1
_MARGIN_SECONDS = 5.0
"""How much longer than its requests a front end gets to end."""
_ENGINE_STOP_SECONDS = 10.0


class Split:
    """One service of several processes."""

    def __init__(
        self,
        settings: Settings,
        sock: socket.socket,
        stop: Stop,
        around: ServiceResources,
        connections: int,
        plan: Plan,
        folder: Path,
    ) -> None:
        """Its processes begin to import. `plan` has at least one front end and one engine; `folder` is theirs alone."""
        self.should_exit = False
        self.force_exit = False
        self._settings = settings
        self._sock = sock
        self._stop = stop
        self._around = around
        self._connections = connections
        self._plan = plan
        self._addresses: Addresses | None = None
        self._databases_open = threading.Event()
        self._news: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._job_asked = threading.Event()
        self._start_jobs = StartOnce(around.children)
        self._listening: set[str] = set()
        """Processes that have ever listened."""
        self._announced = False
        self._said_ready = self._said_failed = False
        (folder / METRICS).mkdir(mode=0o700)
        SharedMetrics(folder / METRICS, "parent").note()
        self._engines, self._front_ends = self._children(folder)
        around.children.start(*self._engines, *self._front_ends)

    def run(self, addresses: Addresses) -> int:
        """Answer requests until asked to stop; the exit code."""
        self._addresses = addresses
        jobs = job_processes(self._settings, addresses, self._job_asked)
        self._start_jobs = StartOnce(self._around.children, *jobs)
        self._stop.server = self
        self._stop.check()
        self._databases_open.set()
        try:
            code = self._watch()
        finally:
            self._around.announcement.withdraw()
            self._end()
        return FORCED if self.force_exit else code

    def _watch(self) -> int:
        """Look at what the children tell until asked to stop, or one cannot be started; the exit code."""
        jobs_at = time.monotonic() + MAX_WAIT_SECONDS
        while not self.should_exit:
            if self._announced and time.monotonic() > jobs_at:
                self._start_jobs()
            try:
                news = self._news.get(timeout=_LOOK_SECONDS)
            except queue.Empty:
                continue
            if "failed" in news and news["failed"] not in self._listening:
                say(err, "[bold red]vision serve:[/] the service did not start; the lines above say why.")
                return 1
            self._take(news)
        return 0

    def _take(self, news: dict[str, Any]) -> None:
        if news.get("job_asked"):
            self._job_asked.set()
        if name := news.get("listening"):
            self._listening.add(name)
            if name.startswith("front-end") and not self._announced:
                self._announced = True
                self._around.announce()
                plan = self._plan
                processes = (
                    f" with {_count(plan.front_ends, 'front end')} and {_count(len(plan.devices), 'engine')}"
                )
                say_listening(self._settings, url_of(self._sock), processes)
        if "models" in news or "not_loaded" in news:
            self._start_jobs()  # the processor was the model's until it was live
            if "models" in news and not self._said_ready:
                self._said_ready = True
                say_ready(self._settings, url_of(self._sock), news["models"])
            elif "not_loaded" in news and not (self._said_ready or self._said_failed):
                self._said_failed = True
                say_not_loaded(self._settings, news["not_loaded"])

    def _end(self) -> None:
        """Let front ends finish their requests, then engines end; jobs are given back meanwhile."""
        self._sock.close()  # clients that come now are refused
        children = self._around.children
        children.drain(*self._start_jobs.started)
        children.stop(*self._front_ends, within_s=self._settings.limits.shutdown_grace_s + _MARGIN_SECONDS)
        children.stop(*self._engines, within_s=_ENGINE_STOP_SECONDS)

    def _children(self, folder: Path) -> tuple[list[Child], list[Child]]:
        """Engines and front ends, whose rows in the tallies are in that order."""
        plan, wanted = self._plan, self._settings.processes
        pauses = Pauses(wanted.restart_pause_s, wanted.restart_max_pause_s, wanted.restart_steady_s)
        names = [f"engine-{index}" for index in range(len(plan.devices))]
        names += [f"front-end-{index}" for index in range(plan.front_ends)]
        tallies = Tallies.create(folder / TALLIES, len(names))
        sockets = [str(folder / f"{name}.sock") for name in names[: len(plan.devices)]]
        common = {"folder": str(folder), "engines": sockets, "token": secrets.token_hex(16)}
        cleaned = threading.Event()
        children = []
        for row, name in enumerate(names):
            is_engine = row < len(plan.devices)
            if is_engine:
                settings = engine_settings(self._settings, plan, row)
                special: dict[str, Any] = {"index": row}
            else:
                settings = front_end_settings(self._settings, plan)
                special = {"listen": self._sock.fileno(), "connections": self._connections}
            launch_config = {"name": name, "row": row, **common, **special}
            child = Child(
                name=name,
                command=("app.runtime.engine_process" if is_engine else "app.runtime.front_end",),
                launch_config=partial(self._build_launch_config, launch_config, settings, cleaned),
                configured_after=self._databases_open,
                on_message=self._news.put,
                on_end=partial(self._note_end, name, row, tallies, SharedMetrics(folder / METRICS, name)),
                inherits=() if is_engine else (self._sock.fileno(),),
                pauses=pauses,
            )
            children.append(child)
        return children[: len(plan.devices)], children[len(plan.devices) :]

    def _build_launch_config(
        self, config: dict[str, Any], settings: Settings, cleaned: threading.Event
    ) -> dict[str, Any]:
        """The configuration of a process for this start; the first front end cleans, once."""
        cleans = config["row"] == len(self._plan.devices) and not cleaned.is_set()
        if cleans:
            cleaned.set()
        return {**config, "settings": write_settings(settings, self._addresses), "cleans": cleans}

    def _note_end(self, name: str, row: int, tallies: Tallies, metrics: SharedMetrics, code: int) -> None:
        tallies.clear(row)
        metrics.end()
        if code > 0:  # it has given up by itself
            self._news.put({"failed": name})


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
