"""Appends a replica's output to its log segments and their index. Runs inside the shim: standard library only."""

from __future__ import annotations

import os
import time

from dynamod.drivers import logfile

_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC


class LogWriter:
    """One writer per replica; it goes on where the last one stopped.

    A full disk must not stop a replica: bytes that cannot be written are counted and told of in a line
    of their own as soon as there is room again.
    """

    def __init__(
        self, directory: str, *, segment_bytes: int = logfile.SEGMENT_BYTES, keep: int = logfile.SEGMENTS_KEPT
    ) -> None:
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._keep = keep
        self._time = 0.0
        self._partial = 0
        os.makedirs(directory, mode=0o700, exist_ok=True)
        self._debt = os.open(f"{directory}/{logfile.DROPPED}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._dropped = int(os.read(self._debt, logfile.DROPPED_BYTES) or b"0")
        self._note_debt()  # takes the room for it, too
        numbers = logfile.segments(directory)
        self._number = numbers[-1] if numbers else 0
        self._line = self._next_line()
        self._open(self._number)
        if self._partial:
            self.finish()

    @property
    def next_line(self) -> int:
        """The number of the line that is written next."""
        return self._line

    def write(self, data: bytes) -> None:
        """Append a chunk as it was read; it may begin and end anywhere within a line."""
        while data:
            if self._size >= self._segment_bytes and not self._partial:
                self._rotate()
            room = self._segment_bytes - self._size
            cut = data.find(b"\n", max(room - 1, 0)) + 1 if len(data) > room else 0
            head, data = (data[:cut], data[cut:]) if cut else (data, b"")
            self._append(self._broken(head))

    def finish(self) -> None:
        """Complete the last line, so that the next process starts one of its own."""
        if self._partial:
            self._append(b"\n")

    def close(self) -> None:
        if self._dropped:
            self._note_debt()
        for file in (self._data, self._index, self._debt):
            os.close(file)

    def _append(self, data: bytes) -> None:
        new = len(data)
        if self._dropped:
            note = f"\n... {self._dropped} bytes of output were dropped: the disk was full\n".encode()
            data = note[not self._partial :] + data
        start = 0 if not self._partial else data.find(b"\n") + 1
        has_start = start < len(data) and (start > 0 or not self._partial)
        try:
            self._write_whole(data)
        except OSError:
            self._dropped += new
            return
        if self._dropped:
            self._dropped = 0
            self._note_debt()
        if has_start:
            self._time = max(self._time, time.time())
            line = self._line + (1 if self._partial else 0)
            self._write_record(logfile.pack(self._time, self._size + start, line))
        lines = data.count(b"\n")
        self._line += lines
        tail = len(data) - 1 - data.rfind(b"\n")
        self._partial = tail if lines else self._partial + len(data)
        self._size += len(data)

    def _note_debt(self) -> None:
        """Keep what was dropped and not yet told of, in place: should this writer end, the next one tells."""
        try:
            os.pwrite(self._debt, b"%0*d" % (logfile.DROPPED_BYTES, self._dropped), 0)
        except OSError:
            pass  # the disk was full from the start

    def _write_whole(self, data: bytes) -> None:
        written = 0
        try:
            while written < len(data):
                written += os.write(self._data, data[written:] if written else data)
        except OSError:
            os.ftruncate(self._data, self._size)
            raise

    def _write_record(self, record: bytes) -> None:
        try:
            whole = os.write(self._index, record) == len(record)
        except OSError:
            whole = False  # readers scan lines that have no record
        if not whole:
            _align(self._index)

    def _broken(self, data: bytes) -> bytes:
        """`data` with newlines put into lines that are too long to keep whole."""
        if self._partial + len(data) <= logfile.LINE_BYTES:
            return data
        pieces: list[bytes] = []
        length = self._partial
        lines = data.split(b"\n")
        for number, text in enumerate(lines):
            while length + len(text) > logfile.LINE_BYTES:
                room = logfile.LINE_BYTES - length
                pieces += [text[:room], b"\n"]
                text, length = text[room:], 0
            pieces.append(text)
            length += len(text)
            if number < len(lines) - 1:
                pieces.append(b"\n")
                length = 0
        return b"".join(pieces)

    def _rotate(self) -> None:
        before = self._data, self._index
        try:
            self._open(self._number + 1)
        except OSError:
            return  # a full disk may refuse new files: go on in this segment, and try again with the next chunk
        for file in before:
            os.close(file)
        for number in logfile.segments(self._directory)[: -self._keep]:
            for name in (logfile.index_name(number), logfile.segment_name(number)):
                try:
                    os.unlink(f"{self._directory}/{name}")
                except OSError:
                    pass

    def _open(self, number: int) -> None:
        data = os.open(f"{self._directory}/{logfile.segment_name(number)}", _APPEND, 0o600)
        try:
            self._index = os.open(f"{self._directory}/{logfile.index_name(number)}", _APPEND, 0o600)
        except OSError:
            os.close(data)
            raise
        self._data, self._number = data, number
        _align(self._index)
        self._size = os.fstat(self._data).st_size

    def _next_line(self) -> int:
        """The number of the line that is written next, counted from the last index record on."""
        directory = self._directory
        records = logfile.read_index(directory, self._number)
        if records:
            self._time, offset, line = records[-1]
        elif self._number and (before := logfile.read_index(directory, self._number - 1)):
            # Killed between opening a segment and its first record: the lines before it are in its predecessor.
            self._time, at, line = before[-1]
            line += _newlines(f"{directory}/{logfile.segment_name(self._number - 1)}", at)[0]
            offset = 0
        else:
            offset, line = 0, 0
        lines, self._partial = _newlines(f"{directory}/{logfile.segment_name(self._number)}", offset)
        return line + lines


def _align(index: int) -> None:
    """Cut a torn record off, so that those behind it can be read."""
    size = os.fstat(index).st_size
    if size % logfile.RECORD_BYTES:
        os.ftruncate(index, size - size % logfile.RECORD_BYTES)


def _newlines(path: str, offset: int) -> tuple[int, int]:
    """How many newlines follow `offset`, and how many bytes follow the last of them."""
    lines, tail = 0, 0
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            while chunk := file.read(1 << 20):
                lines += chunk.count(b"\n")
                at = chunk.rfind(b"\n")
                tail = len(chunk) - 1 - at if at >= 0 else tail + len(chunk)
    except FileNotFoundError:
        pass
    return lines, tail
