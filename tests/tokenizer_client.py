"""Ask the reference to train tokenizers and to run them."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import IO, Any

from reference_client import reference_interpreter


class TokenizerReference:
    """A process of the reference that answers the requests of `reference.run_tokenizers`."""

    def __init__(self) -> None:
        """Start it."""
        self._log: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115
        self._process = subprocess.Popen(
            [str(reference_interpreter()), "-m", "reference.run_tokenizers"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            encoding="utf-8",
            env={
                **os.environ,
                "PYTHONPATH": str(Path(__file__).parent),
                "PYTHONIOENCODING": "utf-8",
            },
        )

    def ask(self, op: str, **request: Any) -> dict[str, Any]:  # noqa: ANN401
        """Send one request and wait for its reply.

        Raises:
            RuntimeError: The reference failed; the message holds its traceback.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("the process was started without pipes")
        line = ""
        with contextlib.suppress(BrokenPipeError):
            stdin.write(json.dumps({"op": op, **request}) + "\n")
            stdin.flush()
            line = stdout.readline()
        if not line:
            self._log.seek(0)
            raise RuntimeError(f"the reference process ended:\n{self._log.read()[-4000:]}")
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise RuntimeError(f"the reference failed:\n{reply['error']}")
        return reply

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        self._process.wait(timeout=60)
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()
