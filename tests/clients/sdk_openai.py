"""The openai package for Python: chat, Responses and the smaller endpoints.

See driven.py for how it is asked. Everything is done as the package's own
documentation does it, with its stream helpers and parsers.
"""

import json

import openai
import pydantic

import driven

CHAT_TOOL = {"type": "function", "function": {"name": "look_up", "parameters": driven.SCHEMA}}
TOOL = {"type": "function", "name": "look_up", "parameters": driven.SCHEMA, "strict": False}


class Reply(pydantic.BaseModel):
    """What the simulator says in JSON."""

    answer: str


def client(case, **more):
    retries = case.get("retries", 0)
    return openai.OpenAI(base_url=case["at"] + "/v1", api_key="sk-of-the-user", max_retries=retries, **more)


def said(completion):
    choice = completion.choices[0]
    calls = [{"name": call.function.name, "arguments": call.function.arguments} for call in choice.message.tool_calls or []]
    return {
        "text": choice.message.content or "",
        "calls": calls,
        "finish": choice.finish_reason,
        "output_tokens": completion.usage.completion_tokens if completion.usage else None,
    }


def ask(case):
    tools = {"tools": [CHAT_TOOL]} if case.get("tools") else {}
    return {"model": case["model"], "messages": [{"role": "user", "content": case["prompt"]}], **tools}


def chat_whole(case):
    return said(client(case).chat.completions.create(**ask(case)))


def chat_stream(case):
    text, finish, usage, ids = "", None, None, set()
    options = {"stream_options": {"include_usage": True}}
    for chunk in client(case).chat.completions.create(stream=True, **options, **ask(case)):
        ids.add(chunk.id)
        usage = chunk.usage.completion_tokens if chunk.usage else usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            finish = choice.finish_reason or finish
    return {"text": text, "finish": finish, "output_tokens": usage, "ids": len(ids)}


def chat_helper(case):
    with client(case).chat.completions.stream(stream_options={"include_usage": True}, **ask(case)) as events:
        kinds = sorted({event.type for event in events})
        return {**said(events.get_final_completion()), "kinds": kinds}


def chat_parse(case):
    completion = client(case).chat.completions.parse(response_format=Reply, **ask(case))
    return {**said(completion), "parsed": completion.choices[0].message.parsed.answer}


def chat_walk(case):
    """The tool loop of the documentation, every other turn by the stream helper."""
    api, messages, calls, ids = client(case), ask(case)["messages"], [], []
    for turn in range(driven.TURNS_MAX):
        model = case["models"][min(turn, len(case["models"]) - 1)]
        wanted = {"model": model, "messages": messages, "tools": [CHAT_TOOL], **case.get("more", {})}
        if turn % 2 == case.get("streamed", 1):
            with api.chat.completions.stream(**wanted) as events:
                completion = events.get_final_completion()
        else:
            completion = api.chat.completions.create(**wanted)
        message = completion.choices[0].message
        ids.append(completion.id)
        if not message.tool_calls:
            return {"text": message.content, "calls": calls, "finish": completion.choices[0].finish_reason, "ids": ids}
        messages.append(message)
        for call in message.tool_calls:
            calls.append({"name": call.function.name, "arguments": json.loads(call.function.arguments)})
            messages.append({"role": "tool", "tool_call_id": call.id, "content": f"result {len(calls)}"})
    return {"text": "", "calls": calls, "finish": "endless", "ids": ids}


def answered(response):
    calls = [item for item in response.output if item.type == "function_call"]
    return {
        "text": response.output_text,
        "calls": [{"name": call.name, "arguments": call.arguments} for call in calls],
        "finish": response.status,
        "output_tokens": response.usage.output_tokens if response.usage else None,
        "failed": response.error.code if response.error else None,
    }


def request(case):
    tools = {"tools": [TOOL]} if case.get("tools") else {}
    return {"model": case["model"], "input": case["prompt"], **tools}


def responses_whole(case):
    return answered(client(case).responses.create(**request(case)))


def responses_stream(case):
    """Plain iteration: the last event holds the response."""
    text, last, numbers = "", None, []
    for event in client(case).responses.create(stream=True, **request(case)):
        numbers.append(event.sequence_number)
        last = event
        if event.type == "response.output_text.delta":
            text += event.delta
    if numbers != list(range(len(numbers))):
        raise ValueError(f"sequence numbers: {numbers}")
    return {**answered(last.response), "joined": text, "last": last.type}


def responses_helper(case):
    with client(case).responses.stream(**request(case)) as events:
        kinds = sorted({event.type for event in events})
        return {**answered(events.get_final_response()), "kinds": kinds}


def responses_parse(case):
    response = client(case).responses.parse(text_format=Reply, **request(case))
    return {**answered(response), "parsed": response.output_parsed.answer}


def responses_stream_parse(case):
    with client(case).responses.stream(text_format=Reply, **request(case)) as events:
        for _ in events:
            pass
        response = events.get_final_response()
    return {**answered(response), "parsed": response.output_parsed.answer}


def responses_walk(case):
    """Keeps the conversation itself, or (`by_id`) lets the other side keep it."""
    api, items, calls, ids = client(case), [{"role": "user", "content": case["prompt"]}], [], []
    for turn in range(driven.TURNS_MAX):
        model = case["models"][min(turn, len(case["models"]) - 1)]
        wanted = {"model": model, "input": items, "tools": [TOOL], **case.get("more", {})}
        if case.get("by_id") and ids:
            wanted["previous_response_id"] = ids[-1]
        if turn % 2 == case.get("streamed", 1):
            with api.responses.stream(**wanted) as events:
                response = events.get_final_response()
        else:
            response = api.responses.create(**wanted)
        ids.append(response.id)
        asked = [item for item in response.output if item.type == "function_call"]
        if not asked:
            return {"text": response.output_text, "calls": calls, "finish": response.status, "ids": ids}
        items = [] if case.get("by_id") else [*items, *response.output]
        for call in asked:
            calls.append({"name": call.name, "arguments": json.loads(call.arguments)})
            items.append({"type": "function_call_output", "call_id": call.call_id, "output": f"result {len(calls)}"})
    return {"text": "", "calls": calls, "finish": "endless", "ids": ids}


def responses_kept(case):
    """A response that is kept: fetched, deleted, and gone."""
    api = client(case)
    made = api.responses.create(**request(case))
    again = api.responses.retrieve(made.id)
    api.responses.delete(made.id)
    try:
        api.responses.retrieve(made.id)
        gone = None
    except openai.NotFoundError as error:
        gone = error.status_code
    return {**answered(again), "same": again.id == made.id, "gone": gone}


def embeddings(case):
    answer = client(case).embeddings.create(model=case["model"], input=["a rope", "a line"], dimensions=16)
    return {"sizes": [len(one.embedding) for one in answer.data], "norm": sum(x * x for x in answer.data[0].embedding)}


def completions(case):
    api = client(case)
    whole = api.completions.create(model=case["model"], prompt=case["prompt"])
    parts = api.completions.create(model=case["model"], prompt=case["prompt"], stream=True)
    joined = "".join(part.choices[0].text for part in parts if part.choices)
    return {"text": whole.choices[0].text, "joined": joined, "finish": whole.choices[0].finish_reason}


def models(case):
    api = client(case)
    return {"ids": [model.id for model in api.models.list()], "one": api.models.retrieve(case["model"]).id}


if __name__ == "__main__":
    driven.main({name: value for name, value in globals().items() if callable(value)})
