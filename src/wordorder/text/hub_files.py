"""Downloads files of a model on the Hugging Face Hub, `hf:NAME` or `hf:NAME@REVISION`.

Only the requested files are downloaded, and only once: they are kept in the Hub's cache. The prefix
is required, as it is for datasets: otherwise a mistyped path would become a request to a server.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wordorder.errors import BadInput
from wordorder.text.corpus import HUB_PREFIX


def is_on_hub(name: str | Path) -> bool:
    """Return whether a name is that of a model on the Hub."""
    return str(name).startswith(HUB_PREFIX)


def name_on_hub(name: str) -> tuple[str, str | None]:
    """Return the name of a model on the Hub, and a branch, tag or commit; None: the newest."""
    model, _, revision = name.removeprefix(HUB_PREFIX).partition("@")
    return model, revision or None


def downloaded(name: str, files: Sequence[str]) -> Path:
    """Return a folder with those files of a model that match some patterns.

    Args:
        name: `hf:NAME` or `hf:NAME@REVISION`.
        files: patterns such as *.json; they do not match files in subfolders.

    Raises:
        BadInput: there is no such model, or it cannot be downloaded.
    """
    import huggingface_hub
    from huggingface_hub import errors

    model, revision = name_on_hub(name)
    try:
        folder = huggingface_hub.snapshot_download(
            model, revision=revision, allow_patterns=list(files), ignore_patterns=["*/*"]
        )
    except errors.GatedRepoError:
        raise BadInput(
            f"{name} is given to those who accept its terms: accept them at "
            f"https://huggingface.co/{model}, and log in with: hf auth login",
            code="text.hub-gated",
        ) from None
    except errors.RepositoryNotFoundError:
        raise BadInput(
            f"the Hugging Face Hub has no model {model}, or it is private: check the name, or log "
            "in with: hf auth login",
            code="text.hub-not-found",
        ) from None
    except errors.RevisionNotFoundError:
        raise BadInput(
            f"{model} has no branch, tag or commit {revision}: give one that it has, or none for "
            "the newest",
            code="text.hub-no-revision",
        ) from None
    except Exception as error:  # the library raises a dozen kinds: wrong name, network, disk
        raise BadInput(
            f"cannot download {name}: {' '.join(str(error).split())[:300]}",
            code="text.hub-download",
        ) from None
    return Path(folder)
