"""The anthropic package for Python: messages with all its helpers.

See driven.py for how it is asked. Everything is done as the package's own
documentation does it.
"""

import anthropic
import pydantic

import driven

TOOL = {"name": "look_up", "description": "looks up", "input_schema": driven.SCHEMA}


class Reply(pydantic.BaseModel):
    """What the simulator says in JSON."""

    answer: str


def client(case, **more):
    # The package takes the address without its path.
    return anthropic.Anthropic(base_url=case["at"], api_key="sk-of-the-user", max_retries=case.get("retries", 0), **more)


def ask(case):
    tools = {"tools": [TOOL]} if case.get("tools") else {}
    messages = [{"role": "user", "content": case["prompt"]}]
    return {"model": case["model"], "max_tokens": 4000, "messages": messages, **tools, **case.get("more", {})}


def said(message):
    return {
        "text": "".join(block.text for block in message.content if block.type == "text"),
        "thinking": "".join(block.thinking for block in message.content if block.type == "thinking"),
        "calls": [{"name": block.name, "arguments": block.input} for block in message.content if block.type == "tool_use"],
        "finish": message.stop_reason,
        "output_tokens": message.usage.output_tokens,
    }


def messages_whole(case):
    return said(client(case).messages.create(**ask(case)))


def messages_stream(case):
    text, kinds = "", []
    for event in client(case).messages.create(stream=True, **ask(case)):
        kinds.append(event.type)
        if event.type == "content_block_delta" and event.delta.type == "text_delta":
            text += event.delta.text
    return {"text": text, "first": kinds[0], "last": kinds[-1]}


def messages_helper(case):
    with client(case).messages.stream(**ask(case)) as stream:
        joined = "".join(stream.text_stream)
        return {**said(stream.get_final_message()), "joined": joined}


def messages_events(case):
    """The helper's own events, which agents read."""
    with client(case).messages.stream(**ask(case)) as stream:
        kinds = sorted({event.type for event in stream})
        return {**said(stream.get_final_message()), "kinds": kinds}


def messages_parse(case):
    message = client(case).messages.parse(output_format=Reply, **ask(case))
    return {**said(message), "parsed": message.parsed_output.answer}


def messages_walk(case):
    """The tool loop of the documentation, every other turn by the stream helper."""
    api, wanted, calls, ids, thought = client(case), ask({**case, "model": "", "tools": True}), [], [], 0
    for turn in range(driven.TURNS_MAX):
        wanted["model"] = case["models"][min(turn, len(case["models"]) - 1)]
        if turn % 2 == case.get("streamed", 1):
            with api.messages.stream(**wanted) as stream:
                message = stream.get_final_message()
        else:
            message = api.messages.create(**wanted)
        ids.append(message.id)
        thought += sum(block.type == "thinking" for block in message.content)
        asked = [block for block in message.content if block.type == "tool_use"]
        if not asked:
            return {**said(message), "calls": calls, "ids": ids, "thought": thought}
        wanted["messages"].append({"role": "assistant", "content": message.content})
        results = []
        for block in asked:
            calls.append({"name": block.name, "arguments": block.input})
            results.append({"type": "tool_result", "tool_use_id": block.id, "content": f"result {len(calls)}"})
        wanted["messages"].append({"role": "user", "content": results})
    return {"text": "", "calls": calls, "finish": "endless", "ids": ids, "thought": thought}


def messages_runner(case):
    """The package's own tool loop."""
    calls = []

    @anthropic.beta_tool
    def look_up(query: str) -> str:
        """Looks up.

        Args:
            query: what for
        """
        calls.append({"name": "look_up", "arguments": {"query": query}})
        return f"result {len(calls)}"

    runner = client(case).beta.messages.tool_runner(tools=[look_up], **ask(case))
    turns = [message for message in runner]
    return {**said(turns[-1]), "calls": calls, "ids": [message.id for message in turns]}


def count_tokens(case):
    wanted = ask(case)
    wanted.pop("max_tokens")
    return {"input_tokens": client(case).messages.count_tokens(**wanted).input_tokens}


def models(case):
    api = client(case)
    return {"ids": [model.id for model in api.models.list()], "one": api.models.retrieve(case["model"]).id}


if __name__ == "__main__":
    driven.main({name: value for name, value in globals().items() if callable(value)})
