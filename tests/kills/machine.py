"""A folder in which commands are run, stopped and killed, by `server.py`."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wordorder.training.metrics import TIMING_FIELDS, read

STEPS = 20
SMALL = (
    "--width 16 --layers 1 --heads 2 --trained-length 16 --batch-size 2 --tokenizer bytes "
    "--dtype float32 --kernel plain --compile no --threads 1 --dropout 0.1 --data text.txt "
    f"--steps {STEPS} --checkpoint-every 4"
).split()
OF_A_RUN = ("model.safetensors", "last.safetensors", "tokenizer.json", "samples.txt")


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code, what it said, and how often it changed a file."""

    code: int
    out: str
    err: str
    changes: int

    @property
    def error(self) -> str:
        """The one line of its error."""
        assert "Traceback" not in self.err, self.err
        return self.err.strip().splitlines()[-1]


class Machine:
    """A folder in which commands are run, stopped and killed."""

    def __init__(self, folder: Path, server: subprocess.Popen[str]) -> None:
        self.folder, self.server = folder, server

    def start(self, *words: object, counted: str = "r", **how: int) -> int:
        """Start a command and return its process number."""
        run = [str(word) for word in words]
        return self._ask({"run": run, "folder": str(self.folder), "counted": counted, **how})

    def wait(self, process: int) -> Ended:
        code = self._ask({"wait": process})
        texts = {}
        for suffix in ("out", "err", "changes"):
            path = self.folder / f"{process}.{suffix}"
            texts[suffix] = path.read_text("utf-8", "replace") if path.exists() else ""
            path.unlink(missing_ok=True)
        return Ended(code, texts["out"], texts["err"], int(texts["changes"] or 0))

    def run(self, *words: object, **how: Any) -> Ended:
        return self.wait(self.start(*words, **how))

    def train(self, out: str, *words: object, **how: Any) -> Ended:
        return self.run("train", *SMALL, "--out", out, *words, counted=out, **how)

    def killed_after(
        self, seconds: float, *words: object, by: int = signal.SIGKILL, times: int = 1
    ) -> Ended:
        """Run a command and stop it so many seconds after it began, if it is not done."""
        process = self.start(*words)
        for _ in range(times):
            time.sleep(seconds)
            os.kill(process, by)  # if it is done, it still has its number: nobody has waited
            seconds /= 50
        return self.wait(process)

    def finish(self, out: str, *words: object) -> Ended:
        """Go on with a run that was killed, or begin it again where it had nothing saved."""
        if any((self.folder / out).glob("training/step-*/state.json")):
            return self.run("train", "--resume", out)
        return self.train(out, *words)

    def remove(self, out: str) -> None:
        shutil.rmtree(self.folder / out, ignore_errors=True)

    def left(self, out: str) -> dict[str, Any]:
        """All that two runs of the same settings have in common; nothing may be left over."""
        folder = self.folder / out
        files = {str(p.relative_to(folder)): p for p in folder.rglob("*") if p.is_file()}
        assert not [name for name in files if "/." in f"/{name}"], sorted(files)
        found: dict[str, Any] = {
            name: files[name].read_bytes() for name in OF_A_RUN if name in files
        }
        last = f"training/step-{STEPS:08d}/state"
        found |= {end: files[f"{last}.{end}"].read_bytes() for end in ("json", "safetensors")}
        found["metrics"] = [
            {k: v for k, v in record.items() if k not in TIMING_FIELDS}
            for record in read(folder / "metrics.jsonl")
        ]
        assert {"README.md", "loss.png", "config.json"} < set(files)
        return found

    def _ask(self, request: dict[str, Any]) -> int:
        assert self.server.stdin is not None and self.server.stdout is not None
        self.server.stdin.write(json.dumps(request) + "\n")
        self.server.stdin.flush()
        return int(self.server.stdout.readline())
