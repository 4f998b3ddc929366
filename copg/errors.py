"""What can be a user's mistake: each error is one line that the command prints before exit code 1."""

import errno
import os
import re

_USER, _QUERY = re.compile(r"(\w://)[^\s/?#'\"]*@"), re.compile(r"(\w://[^\s?'\"]*)\?[^\s'\"]*")

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_WRITABLE = "choose a folder that can be written"
_OF_PATHS = {
    errno.EACCES: _WRITABLE,
    errno.EPERM: _WRITABLE,
    errno.EROFS: _WRITABLE,
    errno.ENAMETOOLONG: "choose a shorter path",
    errno.ENOTDIR: "a folder is needed there",
    errno.EEXIST: "a folder is needed there",
    errno.EISDIR: "a file is needed there",
    errno.ELOOP: "links lead in a circle",
}
"""What to do, by the number of an error that a path of the user's can cause."""


def without_secrets(text: str) -> str:
    """A text whose addresses have no user info and no query any more: these are where passwords stand."""
    return _QUERY.sub(r"\1", _USER.sub(r"\1", text))


class CopgError(ValueError):
    """Base of every error a user can cause and mend; never raised for our own bugs."""

    def __str__(self) -> str:
        """The line, which is printed and written down, so that it tells no password."""
        return without_secrets(super().__str__())


class ConfigError(CopgError):
    """A setting is unknown, of the wrong type or out of its range."""


class MemoryLimitError(CopgError):
    """Settings ask for more memory than a card or a container has; another attempt would as well."""


class RecordError(CopgError):
    """A record or a file of records cannot be used; the message names file and line."""


class ArtifactError(CopgError):
    """A directory is not the artifact a stage asked for, or its contents changed since."""


class DamageError(CopgError):
    """A file of ours is not what was written; the message names it and what to do."""


class ModelError(CopgError):
    """A model or tokeniser cannot be loaded, or has layers whose rows are not covered."""


class RewardError(CopgError):
    """A reward is unknown, failed, or gave a value that is not finite."""


class StoreError(CopgError):
    """A reference store holds or was offered a value that cannot be trusted."""


class MismatchError(CopgError):
    """The weights disagree with the cached reference: model, tokeniser, template or precision moved."""


class DiskError(CopgError):
    """A disk is full, or a file or folder cannot be read or written."""


def disk_mistake(error: BaseException) -> DiskError | None:
    """What to say of an error of files that is none of ours; None of any other."""
    number = getattr(error, "errno", None)
    if number in _FULL or any(os.strerror(each) in str(error) for each in _FULL):
        full = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
        return DiskError(f"{full}the disk is full; free some of it and run again: what was finished stays")
    if not isinstance(error, OSError) or number not in _OF_PATHS or not error.filename:
        return None
    return DiskError(f"{error.filename}: {error.strerror}; {_OF_PATHS[number]}")


class TrackingError(CopgError):
    """The tracking server or the model registry cannot be reached, or refuses what was asked of it."""
