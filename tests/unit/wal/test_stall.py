# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What counts as a stall of a repository: neither the sealing of the file, nor the moment after it in which no thread has gone on."""

from __future__ import annotations

import threading
import time

from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.push import _Sent, _Shared


def test_the_moment_after_a_long_sealing_is_no_stall() -> None:
    shared, goes_on = _Shared(lambda: None), threading.Event()
    shared.get()
    sent = object.__new__(_Sent)
    sent.name, sent.fault, sent._shared = "here", None, shared
    sent._progress = time.monotonic() - 1000  # the sealing took so long, and the thread has not come to note that it is over
    sent._thread = threading.Thread(target=goes_on.wait)
    sent._thread.start()
    late = threading.Timer(0.2, goes_on.set)
    late.start()
    sent.wait(120)
    late.join()
    assert sent.fault is None
    assert not sent._thread.is_alive()
