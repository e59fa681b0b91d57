"""The OpenAI Agents SDK over both of its models.

See driven.py for how it is asked; a case's `by` names the model class. Everything
is done as the SDK's own documentation does it.
"""

import asyncio

import openai
import pydantic
from agents import (
    Agent,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)

import driven

# Traces would go to the vendor.
set_tracing_disabled(True)


class Reply(pydantic.BaseModel):
    """What the simulator says in JSON."""

    answer: str


def agent_of(case, calls, **more):
    @function_tool
    def look_up(query: str) -> str:
        """Looks up."""
        calls.append({"name": "look_up", "arguments": {"query": query}})
        return f"result {len(calls)}"

    api = openai.AsyncOpenAI(
        base_url=case["at"] + "/v1", api_key="sk-of-the-user", max_retries=case.get("retries", 0)
    )
    kind = OpenAIResponsesModel if case["by"] == "responses" else OpenAIChatCompletionsModel
    model = kind(model=case["model"], openai_client=api)
    return Agent(name="mender", instructions="Be brief.", model=model, tools=[look_up], **more)


def run(case):
    calls = []
    result = asyncio.run(Runner.run(agent_of(case, calls), case["prompt"]))
    return {"text": result.final_output, "calls": calls, "turns": len(result.raw_responses)}


def stream(case):
    calls = []

    async def streamed():
        result = Runner.run_streamed(agent_of(case, calls), case["prompt"])
        kinds = {event.type async for event in result.stream_events()}
        return {"text": result.final_output, "calls": calls, "turns": len(result.raw_responses), "kinds": sorted(kinds)}

    return asyncio.run(streamed())


def parse(case):
    agent = agent_of(case, [], output_type=Reply)
    return {"parsed": asyncio.run(Runner.run(agent, case["prompt"])).final_output.answer}


if __name__ == "__main__":
    driven.main({"run": run, "stream": stream, "parse": parse})
