"""What can be a user's mistake: each error is one line that the command prints before exit code 1."""

import re

_USER, _QUERY = re.compile(r"(\w://)[^\s/?#'\"]*@"), re.compile(r"(\w://[^\s?'\"]*)\?[^\s'\"]*")


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


class TrackingError(CopgError):
    """The tracking server or the model registry cannot be reached, or refuses what was asked of it."""
