"""The openai package for Python against a gateway: one JSON line per case.

Usage: cases.py BASE_URL GROUP. The names of the models are the routes that
tests/it/clients.rs configures. A case never fails here: it prints what the
package gave or raised, and the Rust test judges.
"""

import json
import sys
from concurrent.futures import ThreadPoolExecutor

import openai

PROMPT = [{"role": "user", "content": "why do ropes go slack?"}]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "look",
            "parameters": {"type": "object", "properties": {"where": {"type": "string"}}},
        },
    }
]
# The read timeout of the cases with a silence: shorter than the silence, so
# that only keep-alives bring the package over it.
SCALED_PATIENCE = 1.5
LONG_PATIENCE = 20.0


def client(base_url, **more):
    # Nothing but the base URL is changed; the key is whatever the user has.
    return openai.OpenAI(base_url=base_url, api_key="sk-of-the-user", **more)


def joined(stream):
    """What a program that reads the stream ends up with."""
    seen = {"text": "", "chunks": 0, "calls": {}, "finish": None, "usage": None, "ids": []}
    for chunk in stream:
        seen["chunks"] += 1
        if chunk.id not in seen["ids"]:
            seen["ids"].append(chunk.id)
        if chunk.usage is not None:
            seen["usage"] = chunk.usage.completion_tokens
        for choice in chunk.choices:
            seen["text"] += choice.delta.content or ""
            seen["finish"] = choice.finish_reason or seen["finish"]
            for call in choice.delta.tool_calls or []:
                kept = seen["calls"].setdefault(call.index, {"name": "", "arguments": ""})
                kept["name"] += call.function.name or ""
                kept["arguments"] += call.function.arguments or ""
    seen["calls"] = [seen["calls"][index] for index in sorted(seen["calls"])]
    return seen


def stream(api, model, **more):
    return joined(api.chat.completions.create(model=model, messages=PROMPT, stream=True, **more))


def whole(api, model, **more):
    answer = api.chat.completions.create(model=model, messages=PROMPT, **more)
    message = answer.choices[0].message
    calls = [
        {"name": call.function.name, "arguments": call.function.arguments} for call in message.tool_calls or []
    ]
    return {
        "text": message.content or "",
        "calls": calls,
        "finish": answer.choices[0].finish_reason,
        "usage": answer.usage.completion_tokens,
    }


def helper(api, model):
    """The package's own accumulator, which agents use."""
    with api.chat.completions.stream(model=model, messages=PROMPT, tools=TOOLS) as events:
        for _ in events:
            pass
        message = events.get_final_completion().choices[0].message
    return {"calls": [{"name": c.function.name, "arguments": c.function.arguments} for c in message.tool_calls or []]}


def abort(api, model):
    """Leaves in the middle of an answer, as a user who presses stop."""
    answer = api.chat.completions.create(model=model, messages=PROMPT, stream=True)
    chunks = 0
    for _ in answer:
        chunks += 1
        if chunks == 4:
            break
    answer.close()
    return {"chunks": chunks}


def models(api):
    return {"ids": [model.id for model in api.models.list()]}


def raised(error):
    """What a program can see of an error."""
    body = error.body if isinstance(getattr(error, "body", None), dict) else {}
    response = getattr(error, "response", None)
    return {
        "class": type(error).__name__,
        "status": getattr(error, "status_code", None),
        "code": getattr(error, "code", None),
        "param": getattr(error, "param", None),
        "type": body.get("type"),
        "message": str(error),
        "request_id": getattr(error, "request_id", None),
        "cause": response.headers.get("x-tautline-cause") if response is not None else None,
        "retry_after": response.headers.get("retry-after") if response is not None else None,
        "should_retry": response.headers.get("x-should-retry") if response is not None else None,
    }


def told(name, case):
    try:
        return {"case": name, **case()}
    except Exception as error:  # whatever is raised is what is asked about
        return {"case": name, "error": raised(error)}


def answers(base_url):
    api = client(base_url)
    yield "stream", lambda: stream(api, "good")
    yield "whole", lambda: whole(api, "good")
    yield "usage", lambda: stream(api, "good", stream_options={"include_usage": True})
    yield "tools_stream", lambda: stream(api, "tools", tools=TOOLS)
    yield "tools_whole", lambda: whole(api, "tools", tools=TOOLS)
    yield "tools_helper", lambda: helper(api, "tools")
    yield "fallback", lambda: stream(api, "rescued")
    yield "own_login", lambda: whole(api, "own")
    yield "task", lambda: whole(client(base_url, default_headers={"x-tautline-task": "lookup"}), "auto")
    yield "models", lambda: models(api)
    yield "abort", lambda: abort(api, "endless")


def errors(base_url):
    api = client(base_url)
    for model in ["bad", "policy", "long", "page", "login", "quota", "own", "no-such-model", "late", "closed"]:
        yield model, lambda model=model: whole(api, model)
    yield "wrong_base_url", lambda: whole(client(base_url + "/v1"), "good")
    yield "late_stream", lambda: stream(api, "late")
    yield "cut", lambda: stream(api, "cut")
    # These are tried again by the package: the record tells how often.
    twice = client(base_url, max_retries=1)
    yield "busy", lambda: whole(twice, "busy")
    yield "busy_then_good", lambda: whole(twice, "busy-once")
    yield "limited_then_good", lambda: whole(twice, "limited-once")
    yield "limited_long", lambda: whole(twice, "limited-long")


def silence(base_url, patience):
    api = client(base_url, timeout=patience, max_retries=0)
    yield "before", lambda: stream(api, "quiet")
    yield "within", lambda: stream(api, "halting")


def main():
    base_url, group = sys.argv[1:]
    cases = {
        "answers": lambda: answers(base_url),
        "errors": lambda: errors(base_url),
        "silence": lambda: silence(base_url, SCALED_PATIENCE),
        "long-silence": lambda: silence(base_url, LONG_PATIENCE),
    }[group]()
    # Side by side, since most of them wait.
    with ThreadPoolExecutor(max_workers=16) as pool:
        for line in pool.map(lambda case: told(*case), list(cases)):
            print(json.dumps(line), flush=True)


main()
