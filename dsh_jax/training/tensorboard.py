"""Scalars, pictures and texts for TensorBoard, written at once, so that a full disk is noticed."""

import time
from pathlib import Path

import numpy as np
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog


class TensorBoard:
    """An event file.

    Args:
      folder: where to write; made as needed.
      first_step: steps from this one on, of earlier event files in the folder, are hidden.
    """

    def __init__(self, folder: Path, *, first_step: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._events = EventsWriter(str(folder / "events"))
        start = SessionLog(status=SessionLog.START)
        self._events.write_event(Event(step=first_step, file_version="brain.Event:2"))
        self._events.write_event(Event(step=first_step, session_log=start))

    def scalar(self, step: int, name: str, value: float) -> None:
        """Adds a number."""
        self._add(step, summary.scalar(name, value))

    def image(self, step: int, name: str, image: np.ndarray) -> None:
        """Adds a uint8 image `[height, width, 3]`."""
        self._add(step, summary.image(name, image, dataformats="HWC"))

    def text(self, step: int, name: str, text: str) -> None:
        """Adds a text in Markdown."""
        self._add(step, summary.text(name, text))

    def flush(self) -> None:
        """Writes what was added."""
        self._events.flush()

    def close(self) -> None:
        """Writes what was added, and closes the file."""
        self._events.close()

    def _add(self, step: int, content: summary.Summary) -> None:
        self._events.write_event(Event(wall_time=time.time(), step=step, summary=content))
