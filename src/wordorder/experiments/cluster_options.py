"""What each job that is submitted to Slurm asks for, as NAME=VALUE words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any

from annotated_types import Interval

from wordorder.errors import BadInput
from wordorder.settings import NotNegative, Positive, Spelled, check

# What Slurm takes as a name, a list of names or a condition on features.
SlurmName = Annotated[
    str, Spelled(r"[\w.:,@&|\[\]*+-]+", "a name that Slurm knows, without spaces")
]


@dataclass(frozen=True)
class ClusterOptions:
    """What a submitted job asks for, and how many are submitted at a time.

    Args:
        time: minutes until Slurm stops a job, which saves its run and is submitted again.
        cpus: CPU cores of a job, and its threads.
        gpus: GPUs of a job.
        memory: GB of memory of a job; None: the cluster's default.
        partition, account, qos, constraint: as `sbatch` takes them; None: the cluster's defaults.
        jobs: jobs that are submitted at a time.

    Raises:
        BadInput: an invalid value.
    """

    time: Positive = 60
    cpus: Annotated[int, Interval(ge=1, le=1024)] = 1
    gpus: NotNegative = 0
    memory: Positive | None = None
    partition: SlurmName | None = None
    account: SlurmName | None = None
    qos: SlurmName | None = None
    constraint: SlurmName | None = None
    jobs: Positive = 64

    def __post_init__(self) -> None:
        check(self)

    @classmethod
    def parse(cls, words: Sequence[str]) -> ClusterOptions:
        """Return the options that words such as `time=60 partition=gpu` set.

        Args:
            words: each may hold several, separated by spaces.

        Raises:
            BadInput: a word of another form, an unknown name or an invalid value.
        """
        names = [field.name for field in fields(cls)]
        values: dict[str, Any] = {}
        for word in " ".join(words).split():
            name, separator, value = word.partition("=")
            if not separator or not value:
                raise BadInput(
                    f"--slurm-options {word}: give NAME=VALUE, such as time=60",
                    code="experiments.slurm-option-form",
                )
            if name not in names:
                raise BadInput(
                    f"--slurm-options {word}: unknown name {name!r}, use {', '.join(names)}",
                    code="experiments.unknown-slurm-option",
                )
            values[name] = value
        try:
            return cls(**values)
        except BadInput as error:
            raise BadInput(
                f"--slurm-options: {error}", code="experiments.slurm-option-value"
            ) from None
