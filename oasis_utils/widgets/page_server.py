"""The process that serves the app's pages: Voilà, which ends when the process that started it ends.

Each page has a kernel with a copy of the models. Their number is bounded, and the kernel of a page
that was closed without saying so is ended.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from tornado.web import HTTPError
from traitlets import Integer, default

PARENT = "OASIS_APP_PARENT"  # environment variable with the number of the process to end with
POLL = 0.5  # seconds between two looks at the parent
PATIENCE = 10  # seconds that the kernels have for their end
MAX_PAGES = 4  # of about 0.8 GB each
IDLE_SECONDS = 60  # after which the kernel of a page that is gone ends


class PageKernels(AsyncMappingKernelManager):
    """The kernels of the pages, at most `max_pages`."""

    max_pages = Integer(MAX_PAGES, config=True, help="Pages that may be open at the same time.")

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.starting = 0

    @default("cull_idle_timeout")
    def _cull_idle_timeout(self) -> int:
        return IDLE_SECONDS

    @default("cull_interval")
    def _cull_interval(self) -> int:
        return IDLE_SECONDS // 6

    async def start_kernel(self, **kwargs) -> str:
        """Start the kernel of a new page.

        Raises:
            HTTPError: Too many pages are open.
        """
        if len(self.list_kernel_ids()) + self.starting >= self.max_pages:
            reason = (
                f"{self.max_pages} pages are open, and each holds a copy of the models:"
                f" close one, wait {IDLE_SECONDS} seconds, then reload this page"
            )
            raise HTTPError(503, reason, reason="Too many pages are open")
        self.starting += 1
        try:
            return await super()._async_start_kernel(**kwargs)
        finally:
            self.starting -= 1


def end_with(parent: int) -> None:
    """Stop this process when `parent`, which started it, has ended; in good order, if it can."""
    while os.getppid() == parent:
        time.sleep(POLL)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(PATIENCE)
    os._exit(1)


def main() -> None:
    """Run Voilà with the arguments of this process."""
    from voila.app import main as voila

    if PARENT in os.environ:
        parent = int(os.environ.pop(PARENT))
        threading.Thread(target=end_with, args=(parent,), daemon=True).start()
    sys.exit(voila())


if __name__ == "__main__":
    main()
