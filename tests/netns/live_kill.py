#!/usr/bin/python3
"""kill -9 in the middle of a change: as soon as the daemon's undo journal has so many bytes.

  live_kill.py PID JOURNAL BYTES SECONDS    the latest moment is SECONDS from now
"""
import os
import signal
import sys
import time


def main(pid, journal, size, seconds):
    deadline = time.monotonic() + float(seconds)
    print("watching", flush=True)
    while time.monotonic() < deadline:
        try:
            if os.stat(journal).st_size >= int(size):
                break
        except FileNotFoundError:
            pass
    os.kill(int(pid), signal.SIGKILL)


if __name__ == "__main__":
    main(*sys.argv[1:])
