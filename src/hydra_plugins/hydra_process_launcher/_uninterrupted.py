"""Ignore Ctrl-C in the fork server, which imports this file first: the sweeper handles it.

The terminal sends Ctrl-C to every process in the foreground. Without this file it would end the
fork server during its slow imports, with a traceback, and the jobs that wait for it would fail.
`_preload`, which is imported last, restores Python's own handler for the jobs.
"""

import signal

signal.signal(signal.SIGINT, signal.SIG_IGN)
