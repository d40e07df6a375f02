"""Put an exported folder on the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import HfApi, get_token

from search.export.card import HUB_NAME
from search.settings.problems import InputError, shown


def refuse_unreachable_repo(repo: str) -> None:
    """Refuse what cannot be pushed to, before anything is written.

    Raises:
        InputError: it is no name of a repository, or there is no token.
    """
    if not HUB_NAME.fullmatch(repo):
        raise InputError(f"--push is {shown(repr(repo))}; it must be OWNER/NAME")
    if get_token() is None:
        raise InputError(
            f"--push is {repo!r}, but no token of the hub is known; log in with `hf auth login`, "
            f"or set HF_TOKEN"
        )


def push(folder: Path, repo: str, message: str) -> str:
    """Upload a folder to a model repository, which is made, as a private one, if it is not there.

    Returns:
        The address of the repository.

    Raises:
        InputError: the hub refuses, or cannot be reached; one sentence says why.
    """
    api = HfApi()
    try:
        address = api.create_repo(repo, private=True, exist_ok=True)
        api.upload_folder(repo_id=repo, folder_path=folder, commit_message=message)
    except Exception as error:  # of the HTTP library that this version of the client uses, too
        lines = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"--push is {repo!r}, but it failed: {shown(lines, 300)}; the model is in {folder}"
        ) from error
    return str(address)
