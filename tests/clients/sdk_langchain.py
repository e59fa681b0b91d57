"""LangChain's chat models of both vendors.

See driven.py for how it is asked; a case's `by` names the model class. Everything
is done as LangChain's own documentation does it.
"""

import pydantic
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

import driven


class Reply(pydantic.BaseModel):
    """What the simulator says in JSON."""

    answer: str


@tool
def look_up(query: str) -> str:
    """Looks up."""
    return f"found {query}"


def model_of(case, name=None):
    name, more = name or case["model"], case.get("more", {})
    if case["by"] == "anthropic":
        return ChatAnthropic(
            model=name, base_url=case["at"], api_key="sk-of-the-user", max_tokens=4000,
            max_retries=case.get("retries", 0), **more,
        )
    return ChatOpenAI(
        model=name, base_url=case["at"] + "/v1", api_key="sk-of-the-user", max_retries=case.get("retries", 0),
        use_responses_api=case["by"] == "responses", stream_usage=True, **more,
    )


def said(message):
    calls = [{"name": call["name"], "arguments": call["args"]} for call in message.tool_calls]
    usage = message.usage_metadata or {}
    return {"text": message.text, "calls": calls, "output_tokens": usage.get("output_tokens")}


def invoke(case):
    return said(model_of(case).invoke(case["prompt"]))


def stream(case):
    whole = None
    for chunk in model_of(case).stream(case["prompt"]):
        whole = chunk if whole is None else whole + chunk
    return said(whole)


def parse(case):
    return {"parsed": model_of(case).with_structured_output(Reply, method="json_schema").invoke(case["prompt"]).answer}


def walk(case):
    """The tool loop of the documentation, every other turn streamed."""
    messages, calls, ids = [HumanMessage(case["prompt"])], [], []
    for turn in range(driven.TURNS_MAX):
        name = case["models"][min(turn, len(case["models"]) - 1)]
        bound = model_of(case, name).bind_tools([look_up])
        if turn % 2:
            message = None
            for chunk in bound.stream(messages):
                message = chunk if message is None else message + chunk
        else:
            message = bound.invoke(messages)
        messages.append(message)
        if not message.tool_calls:
            return {**said(message), "calls": calls}
        for call in message.tool_calls:
            calls.append({"name": call["name"], "arguments": call["args"]})
            messages.append(ToolMessage(look_up.invoke(call["args"]), tool_call_id=call["id"]))
    return {"text": "", "calls": calls}


if __name__ == "__main__":
    driven.main({"invoke": invoke, "stream": stream, "parse": parse, "walk": walk})
