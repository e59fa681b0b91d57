"""What the scripts that drive a package share: cases in, one JSON line each out.

A script reads a JSON list of cases from its standard input. Each names its
action (`do`), the address of the server without a path (`at`), and what else
its action wants. A case never fails here: it tells what the package gave or
raised, and the Rust test judges.
"""

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor

SCHEMA = {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]}
# Turns of one walk at most; the tests ask for fewer.
TURNS_MAX = 12


def chain(error):
    """The classes of an error and of what it was raised from, without ours."""
    names = []
    while error is not None and len(names) < 4:
        names.append(type(error).__name__)
        error = error.__cause__
    return names


def raised(error):
    """What a program can see of an error."""
    response = getattr(error, "response", None)
    headers = getattr(response, "headers", {})
    return {
        "class": type(error).__name__,
        "bases": [base.__name__ for base in type(error).__mro__],
        "status": getattr(error, "status_code", None),
        "code": getattr(error, "code", None),
        "type": getattr(error, "type", None),
        "body": getattr(error, "body", None),
        "message": str(error),
        "request_id": getattr(error, "request_id", None),
        "cause": headers.get("x-tautline-cause"),
        "retry_after": headers.get("retry-after"),
        "should_retry": headers.get("x-should-retry"),
    }


def told(actions, case):
    try:
        return {"name": case["name"], **actions[case["do"]](case)}
    except Exception as error:  # whatever is raised is what is asked about
        return {"name": case["name"], "error": raised(error), "chain": chain(error)}


def main(actions):
    cases = json.load(sys.stdin)
    # Side by side, since most of them wait.
    with ThreadPoolExecutor(max_workers=int(os.environ.get("TAUTLINE_TEST_AT_ONCE", "8"))) as pool:
        for line in pool.map(lambda case: told(actions, case), cases):
            print(json.dumps(line, default=str), flush=True)
