"""A verdict on one program as it is passed on: two whole numbers and a reason, or a fault of the record."""

import json

NO_VERDICT = {"passed": 0, "total": 1, "failure": "no verdict: out of time or memory"}
NOT_BELIEVED = "its tests gave something else than a verdict"


def believed(said: bytes) -> bytes:
    """A verdict as one line of ours, whatever the process said that ran a record's own code.

    A second line would become the verdict on another record.
    """
    if not said.strip():
        return json.dumps(NO_VERDICT).encode()
    try:
        found = json.loads(said) if said.count(b"\n") == 1 and said.endswith(b"\n") else None
    except (ValueError, RecursionError):
        found = None
    found = found if isinstance(found, dict) else {}
    passed, total, fault = found.get("passed"), found.get("total"), found.get("fault")
    if isinstance(fault, str):
        found = {"fault": fault[:300]}
    elif type(passed) is int and type(total) is int and 0 <= passed <= total > 0:
        found = {"passed": passed, "total": total, "failure": str(found.get("failure", ""))[:200]}
    else:
        found = {"fault": NOT_BELIEVED}
    return json.dumps(found).encode()
