"""Imported by the fork server before all else: Ctrl-C at the terminal is the sweeper's affair.

The terminal sends it to every process in the foreground. While the fork server imports what takes
long it would end with a traceback, and take with it the jobs that wait for it. `_preload`, which
is imported last, undoes this, so that a job has Python's own handler.
"""

import signal

signal.signal(signal.SIGINT, signal.SIG_IGN)
