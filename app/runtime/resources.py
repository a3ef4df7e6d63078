"""What a service has around the process that is asked to stop: children, embedded servers and its announcement."""

from __future__ import annotations

import threading

from app.embedded import EmbeddedServers
from app.embedded.running import Announcement
from app.runtime.children import Child, Children
from app.runtime.job_processes import stop_seconds
from app.runtime.saying import out, say
from app.settings import Settings


class ServiceResources:
    """Stops them in order; safe to call from several threads."""

    def __init__(self, settings: Settings, servers: EmbeddedServers, announcement: Announcement) -> None:
        self.children = Children()
        self.announcement = announcement
        self._settings = settings
        self._servers = servers
        self._stopping = threading.Lock()

    def announce(self) -> None:
        """Note the address in the data folder, where the settings say so."""
        if self._settings.server.announce and not self.announcement.announce():
            say(
                out,
                "Another service has announced itself in this data folder: commands go on asking that one",
            )

    def stop(self, *, at_once: bool = False) -> None:
        """Return when nothing is left; safe to call twice."""
        if at_once:
            self.children.kill()
        with self._stopping:
            self.children.stop(within_s=stop_seconds(self._settings))
            self._servers.stop()


class StartOnce:
    """Starts children at the first call, however many threads call."""

    def __init__(self, children: Children, *wanted: Child) -> None:
        self.started: tuple[Child, ...] = ()
        self._children = children
        self._wanted: tuple[Child, ...] = wanted
        self._changing = threading.Lock()

    def __call__(self, *_: object) -> None:
        """Start them unless they were."""
        with self._changing:
            if not self.started:
                self.started = self._wanted
                self._children.start(*self._wanted)
