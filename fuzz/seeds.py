#!/usr/bin/env python3
"""Makes the seed corpora, `fuzz/corpus/<target>/`, from what is recorded and
written in `tests/`. Run it again when a recording was added; it only adds and
replaces, what fuzzing found stays. Needs nothing but Python."""

import base64
import gzip
import json
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CORPUS = ROOT / "fuzz" / "corpus"


def put(target, name, content):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    if not isinstance(content, (bytes, str)):
        content = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    if isinstance(content, str):
        content = content.encode()
    (folder / name).write_bytes(content)


def stream(payloads, named):
    """Payloads as a target sends them; `named` ones say their type in a line of its own."""
    frames = []
    for payload in payloads:
        kind = json.loads(payload).get("type") if named and payload != "[DONE]" else None
        frames.append((f"event: {kind}\n" if kind else "") + f"data: {payload}\n\n")
    return "".join(frames)


DIALECTS = {"/v1/chat/completions": "chat", "/v1/messages": "messages", "/v1/responses": "responses"}


def recorded():
    """What the vendors' packages sent and were answered."""
    seen = set()
    for client in ["openai-python", "openai-node", "anthropic-python", "anthropic-node"]:
        exchanges = json.loads((ROOT / "tests/wire/sdk" / f"{client}.json").read_text())["exchanges"]
        for number, exchange in enumerate(exchanges):
            body = json.dumps(exchange["body"], sort_keys=True)
            dialect = DIALECTS.get(exchange["path"])
            if body not in seen:
                put(f"request_{dialect}" if dialect else "request_plain", f"{client}_{number}", exchange["body"])
                if "thinking" in body or "reasoning" in body:
                    put("seals", f"{client}_{number}", exchange["body"])
            payloads = exchange.get("payloads") or []
            if body not in seen and payloads:
                # Of a long answer its beginning and its end.
                short = payloads if len(payloads) < 16 else payloads[:8] + payloads[-6:]
                text = stream(short, dialect != "chat")
                put(f"stream_{dialect}", f"{client}_{number}", text)
                last = json.loads(payloads[-1]) if payloads[-1] != "[DONE]" else {}
                if "response" in last:
                    put("whole_responses", f"{client}_{number}", last["response"])
            seen.add(body)


def written():
    """Streams and requests that are written after the vendors' documents."""
    for dialect in ["chat", "messages", "responses"]:
        for path in sorted((ROOT / "tests/wire" / dialect).iterdir()):
            if path.suffix == ".sse":
                put(f"stream_{dialect}", path.stem, path.read_bytes())
                if path.stat().st_size < 3000:
                    put("sse", path.stem, b"\x07\x01\x40\x00" + path.read_bytes())
                if "signature" in path.read_text() or "encrypted_content" in path.read_text():
                    put("seals", path.stem, path.read_bytes())
            if path.suffix == ".json":
                put(f"request_{dialect}", path.stem, path.read_bytes())
    for path in sorted((ROOT / "tests/corpus/body").iterdir()):
        if path.name.startswith("sse_") and path.stat().st_size < 2000:
            put("sse", path.name, b"\x01\x00\x05\xff" + path.read_bytes())


TOOL = {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"], "additionalProperties": False}
PNG = "data:image/png;base64,iVBORw0KGgo="

CHAT = [
    {"model": "m", "messages": [
        {"role": "system", "content": "be brief"}, {"role": "developer", "name": "d", "content": [{"type": "text", "text": "a"}]},
        {"role": "user", "name": "u", "content": [
            {"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
            {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}},
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0=", "filename": "a.pdf"}},
            {"type": "file", "file": {"file_id": "file-1"}}]},
        {"role": "assistant", "content": None, "refusal": None, "reasoning_content": "hm", "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"q\":\"x\"}"}},
            {"id": "c2", "type": "custom", "custom": {"name": "p", "input": "*** Begin"}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "found"},
        {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "done"}]},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}], "annotations": [
            {"type": "url_citation", "url_citation": {"url": "https://x.test", "title": "t", "start_index": 0, "end_index": 1}}]},
        {"role": "user", "content": "go on"}],
     "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": TOOL, "strict": True}},
               {"type": "custom", "custom": {"name": "p", "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: /a/"}}}}],
     "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "f"}}]}},
     "parallel_tool_calls": False, "stop": ["a", "b"], "max_completion_tokens": 99, "temperature": 0.5, "top_p": 1, "seed": 7,
     "reasoning_effort": "high", "verbosity": "low", "prompt_cache_key": "k", "safety_identifier": "s", "metadata": {"task": "t", "a": "b"},
     "service_tier": "auto", "stream": True, "stream_options": {"include_usage": True}},
    {"model": "m", "messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "",
        "function_call": {"name": "f", "arguments": "{}"}}, {"role": "function", "name": "f", "content": "y"}],
     "functions": [{"name": "f", "parameters": TOOL}], "function_call": {"name": "f"}, "max_tokens": 5, "user": "u",
     "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": TOOL, "strict": True}},
     "web_search_options": {"search_context_size": "low", "user_location": {"type": "approximate", "approximate": {"city": "B"}}},
     "reasoning": {"effort": "low", "max_tokens": 100, "enabled": True}, "logit_bias": {"5": 1}, "n": 1, "top_k": 4},
    {"model": "m", "messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "a", "reasoning_details": [
        {"type": "reasoning.text", "text": "r", "signature": "c2ln", "index": 0, "format": "anthropic-claude-v1"},
        {"type": "reasoning.encrypted", "data": "gAAAAA", "id": "rs_1", "index": 1, "format": "openai-responses-v1"},
        {"type": "reasoning.summary", "summary": "s", "index": 2}]}, {"role": "user", "content": "y"}],
     "thinking": {"type": "enabled", "budget_tokens": 1024}, "response_format": {"type": "json_object"}},
]

MESSAGES = [
    {"model": "m", "max_tokens": 2048, "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
     "messages": [
        {"role": "user", "content": [{"type": "text", "text": "look"},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
            {"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}},
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "words"}, "title": "t", "citations": {"enabled": True}},
            {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}},
            {"type": "document", "source": {"type": "file", "file_id": "file_1"}}]},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "c2ln"},
            {"type": "redacted_thinking", "data": "ZGF0YQ"}, {"type": "text", "text": "so", "citations": [
                {"type": "web_search_result_location", "url": "https://x.test", "title": "t", "cited_text": "c", "encrypted_index": "e"}]},
            {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}},
            {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [
                {"type": "web_search_result", "url": "https://x.test", "title": "t", "encrypted_content": "e", "page_age": None}]},
            {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"q": "x"}}, {"type": "tool_use", "id": "toolu_2", "name": "f", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "found"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}]},
            {"type": "tool_result", "tool_use_id": "toolu_2", "content": "bad", "is_error": True}, {"type": "text", "text": "go on"}]}],
     "tools": [{"name": "f", "description": "d", "input_schema": TOOL, "cache_control": {"type": "ephemeral"}},
               {"type": "web_search_20250305", "name": "web_search", "max_uses": 3, "allowed_domains": ["x.test"], "user_location": {"type": "approximate", "city": "B"}},
               {"type": "bash_20250124", "name": "bash"}],
     "tool_choice": {"type": "any", "disable_parallel_tool_use": True}, "stop_sequences": ["a"], "temperature": 1, "top_k": 5, "top_p": 0.9,
     "thinking": {"type": "enabled", "budget_tokens": 1024}, "metadata": {"user_id": "u"}, "service_tier": "auto", "stream": True,
     "output_config": {"effort": "high", "format": {"type": "json_schema", "schema": TOOL}}},
    {"model": "m", "max_tokens": 1, "system": "s", "messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "{"}],
     "tool_choice": {"type": "tool", "name": "f"}, "tools": [{"name": "f", "input_schema": {"type": "object"}}], "thinking": {"type": "adaptive"}},
]

RESPONSES = [
    {"model": "m", "instructions": "be brief", "input": [
        {"role": "system", "content": "s"}, {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "d"}]},
        {"role": "user", "content": [{"type": "input_text", "text": "look"}, {"type": "input_image", "image_url": PNG, "detail": "auto"},
            {"type": "input_file", "file_data": "data:application/pdf;base64,JVBERi0=", "filename": "a.pdf"}, {"type": "input_file", "file_id": "file-1"},
            {"type": "input_image", "file_id": "file-2"}, {"type": "input_file", "file_url": "https://x.test/a.pdf"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "gAAAAA"},
        {"type": "reasoning", "id": "rs_2", "summary": [], "content": [{"type": "reasoning_text", "text": "r"}]},
        {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [
            {"type": "output_text", "text": "so", "annotations": [{"type": "url_citation", "url": "https://x.test", "title": "t", "start_index": 0, "end_index": 1}], "logprobs": []},
            {"type": "refusal", "refusal": "no"}]},
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q", "sources": [{"type": "url", "url": "https://x.test"}]}},
        {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{\"q\":\"x\"}", "status": "completed"},
        {"type": "custom_tool_call", "id": "ctc_1", "call_id": "c2", "name": "p", "input": "*** Begin"},
        {"type": "function_call", "call_id": "c3", "namespace": "n", "name": "g", "arguments": ""},
        {"type": "function_call_output", "call_id": "c1", "output": "found"},
        {"type": "custom_tool_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "done"}, {"type": "input_image", "image_url": PNG}]},
        {"type": "function_call_output", "call_id": "c3", "output": ""},
        {"role": "user", "content": "go on"}],
     "tools": [{"type": "function", "name": "f", "description": "d", "parameters": TOOL, "strict": True}, {"type": "custom", "name": "p"},
               {"type": "namespace", "name": "n", "description": "d", "tools": [{"type": "function", "name": "g", "parameters": TOOL}]},
               {"type": "web_search", "filters": {"allowed_domains": ["x.test"]}, "search_context_size": "low"}],
     "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
     "parallel_tool_calls": False, "reasoning": {"effort": "high", "summary": "auto"}, "include": ["reasoning.encrypted_content"],
     "text": {"verbosity": "low", "format": {"type": "json_schema", "name": "n", "schema": TOOL, "strict": True}},
     "max_output_tokens": 99, "temperature": 0.5, "store": False, "metadata": {"a": "b"}, "prompt_cache_key": "k", "stream": True},
    {"model": "m", "input": [{"role": "user", "content": "x"},
        {"type": "local_shell_call", "id": "lsh_1", "call_id": "c1", "status": "completed", "action": {"type": "exec", "command": ["ls"], "env": {}, "timeout_ms": 5, "working_directory": "/"}},
        {"type": "local_shell_call_output", "id": "lsh_1", "call_id": "c1", "output": "{\"output\":\"a\",\"metadata\":{\"exit_code\":0}}"},
        {"type": "shell_call", "call_id": "c2", "action": {"commands": ["ls"], "timeout_ms": 5, "max_output_length": 10}, "status": "completed"},
        {"type": "shell_call_output", "call_id": "c2", "output": [{"stdout": "a", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}]},
        {"type": "apply_patch_call", "call_id": "c3", "operation": {"type": "update_file", "path": "a", "diff": "@@"}, "status": "completed"},
        {"type": "apply_patch_call_output", "call_id": "c3", "status": "completed", "output": "ok"},
        {"type": "tool_search_call", "call_id": "c4", "execution": "client", "arguments": {"query": "q"}},
        {"type": "tool_search_output", "call_id": "c4", "execution": "client", "tools": [{"type": "function", "name": "h", "parameters": TOOL}]}],
     "tools": [{"type": "local_shell"}, {"type": "shell"}, {"type": "apply_patch"}, {"type": "tool_search", "execution": "client", "description": "d", "parameters": TOOL}],
     "tool_choice": "required", "text": {"format": {"type": "json_object"}}},
    {"model": "m", "previous_response_id": "resp_1", "input": "go on", "background": False},
]

PLAIN = [
    {"model": "m", "prompt": "why do ropes go slack?", "max_tokens": 5, "n": 2, "stream": True, "stream_options": {"include_usage": True}},
    {"model": "m", "prompt": ["a", [1, 2]], "echo": True}, {"model": "m", "input": ["a", "b"], "dimensions": 8}, {"model": "m", "input": [[1, 2]]},
    {"model": "m", "messages": [{"role": "user", "content": "x"}], "system": "s", "tools": [{"name": "f", "input_schema": TOOL}]},
]

WHOLE_CHAT = [
    {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [{"index": 0, "message": {
        "role": "assistant", "content": "so", "refusal": None, "reasoning_content": "hm", "reasoning_details": [
            {"type": "reasoning.text", "text": "hm", "signature": "c2ln", "index": 0}, {"type": "reasoning.encrypted", "data": "ZA", "index": 1}],
        "annotations": [{"type": "url_citation", "url_citation": {"url": "https://x.test", "title": "t", "start_index": 0, "end_index": 1}}],
        "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"q\":1}"}},
                       {"id": "b", "type": "custom", "custom": {"name": "c", "input": "x"}}]}, "logprobs": None, "finish_reason": "tool_calls"}],
     "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11, "prompt_tokens_details": {"cached_tokens": 1}, "completion_tokens_details": {"reasoning_tokens": 1}}},
    {"id": "c", "choices": [{"message": {"role": "assistant", "content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "a"}]}, "finish_reason": "length"},
                            {"index": 1, "message": {"content": "b"}, "finish_reason": "stop"}], "citations": ["https://x.test"], "search_results": [{"url": "https://x.test", "title": "t"}]},
    {"id": "c", "choices": [{"index": 0, "message": {"refusal": "no", "function_call": {"name": "f", "arguments": "{}"}}, "finish_reason": "function_call"}]},
    {"id": "c", "object": "text_completion", "choices": [{"index": 0, "text": "a", "finish_reason": "stop"}]},
    {"error": {"message": "no", "type": "server_error", "code": "x"}},
]

WHOLE_MESSAGES = [
    {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": MESSAGES[0]["messages"][1]["content"],
     "stop_reason": "tool_use", "stop_sequence": None, "usage": {"input_tokens": 5, "cache_read_input_tokens": 2, "cache_creation_input_tokens": 1, "output_tokens": 3}},
    {"id": "msg_2", "type": "message", "content": [{"type": "text", "text": "a"}], "stop_reason": "stop_sequence", "stop_sequence": "b"},
    {"id": "msg_3", "type": "message", "content": [], "stop_reason": "refusal", "stop_details": {"type": "refusal", "explanation": "no"}},
    {"id": "msg_4", "type": "message", "content": [{"type": "hologram", "x": 1}, {"type": "text", "text": "a"}], "stop_reason": "max_tokens"},
    {"type": "error", "error": {"type": "overloaded_error", "message": "no"}}, {"input_tokens": 5},
]

WHOLE_RESPONSES = [
    {"id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "m", "output": RESPONSES[0]["input"][3:10],
     "usage": {"input_tokens": 5, "input_tokens_details": {"cached_tokens": 1}, "output_tokens": 3, "output_tokens_details": {"reasoning_tokens": 1}, "total_tokens": 8}},
    {"id": "resp_2", "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}, "output": [
        {"type": "message", "id": "m", "role": "assistant", "content": [{"type": "output_text", "text": "a"}]}]},
    {"id": "resp_3", "status": "failed", "error": {"code": "server_error", "message": "no"}, "output": []},
    {"id": "resp_4", "status": "completed", "output": RESPONSES[1]["input"][1:]},
]

ERRORS = {
    "openai": "2\n" + json.dumps({"error": {"message": "Incorrect API key provided: sk-proj-abc***xyz.", "type": "invalid_request_error", "param": "model", "code": "invalid_api_key"}}),
    "anthropic": "Wed, 21 Oct 2026 07:28:00 GMT\n" + json.dumps({"type": "error", "error": {"type": "rate_limit_error", "message": "slow down", "details": {"error_code": "thread_not_found"}}, "request_id": "r"}),
    "too_long": "1.5\n" + json.dumps({"error": {"message": "This model's maximum context length is 8192 tokens", "code": "context_length_exceeded", "param": "messages"}}),
    "text": "6m0s\n" + json.dumps({"error": "model 'x' not found"}),
    "vllm": "120ms\n" + json.dumps({"object": "error", "message": "does not support", "type": "BadRequestError", "param": None, "code": 400}),
    "fastapi": "\n" + json.dumps({"detail": [{"loc": ["body"], "msg": "field required"}]}),
    "detail": "\n" + json.dumps({"detail": "Not Found", "status": 404}),
    "seal": "x\n" + json.dumps({"error": {"message": "messages.1.content.0: Invalid `signature` in `thinking` block", "type": "invalid_request_error"}}),
    "page": "-1\n<html><body>502 Bad Gateway</body></html>", "empty": "", "words": "1e300\nupstream connect error",
    "models": "\n" + json.dumps({"object": "list", "data": [{"id": "a", "object": "model"}, {"id": "b"}]}),
    "long": "0\n" + json.dumps({"error": {"message": "ä🦀\u0007" * 200, "code": "x" * 900}}, ensure_ascii=False),
}

TEXT = b"why do ropes go slack? " * 20
# The same text; Python has no maker of these two.
ZSTD = "KLUv/WDMAPUAALh3aHkgZG8gcm9wZXMgZ28gc2xhY2s/IAEAZVWdTQ=="
BROTLI = "G8sB+AXKbaleakt5bENB4cUFMSgME/r25ifF1almiN4eywA="


def bodies():
    for target, all_of_them in [("request_chat", CHAT), ("request_messages", MESSAGES), ("request_responses", RESPONSES), ("request_plain", PLAIN),
                                ("whole_chat", WHOLE_CHAT), ("whole_messages", WHOLE_MESSAGES), ("whole_responses", WHOLE_RESPONSES)]:
        for number, body in enumerate(all_of_them):
            put(target, f"all_{number}", body)
    for number, body in [(0, CHAT[2]), (1, MESSAGES[0]), (2, RESPONSES[0]), (3, WHOLE_MESSAGES[0]), (4, WHOLE_RESPONSES[0])]:
        put("seals", f"all_{number}", body)
    for name, content in ERRORS.items():
        put("error", name, content)
    gzipped = gzip.compress(TEXT, mtime=0)
    for number, (name, content) in enumerate([("gzip", gzipped), ("deflate", zlib.compress(TEXT)), ("zstd", base64.b64decode(ZSTD)), ("brotli", base64.b64decode(BROTLI))]):
        put("inflate", name, bytes([0xF0 + number]) + content)
        put("inflate", f"{name}_cut", bytes([0x10 + number]) + content[: len(content) * 2 // 3])
    put("inflate", "gzip_two", b"\x00" + gzipped + gzip.compress(b"more", mtime=0))
    put("inflate", "gzip_bomb", b"\xf0" + gzip.compress(bytes(1 << 22), mtime=0))
    put("inflate", "brotli_large_window", b"\x03\x11")


recorded()
written()
bodies()
files = [path for path in CORPUS.rglob("*") if path.is_file()]
print(f"{len(files)} seeds, {sum(path.stat().st_size for path in files)} bytes")
