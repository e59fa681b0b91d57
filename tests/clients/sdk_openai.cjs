// The openai package for Node: chat, Responses and the smaller endpoints.
//
// See driven.cjs for how it is asked. Everything is done as the package's own
// documentation does it, with its stream helpers and parsers.

const OpenAI = require("openai");
const { zodResponseFormat, zodTextFormat } = require("openai/helpers/zod");
const { z } = require("zod");
const { main, schema, TURNS_MAX } = require("./driven.cjs");

const chatTool = { type: "function", function: { name: "look_up", parameters: schema } };
const tool = { type: "function", name: "look_up", parameters: schema, strict: false };
// What the simulator says in JSON.
const Reply = z.object({ answer: z.string() });

const client = (one) =>
  new OpenAI({ baseURL: `${one.at}/v1`, apiKey: "sk-of-the-user", maxRetries: one.retries ?? 0 });

const said = (completion) => {
  const { message, finish_reason: finish } = completion.choices[0];
  const calls = (message.tool_calls ?? []).map((call) => ({
    name: call.function.name,
    arguments: call.function.arguments,
  }));
  return { text: message.content ?? "", calls, finish, output_tokens: completion.usage?.completion_tokens ?? null };
};

const ask = (one) => ({
  model: one.model,
  messages: [{ role: "user", content: one.prompt }],
  ...(one.tools ? { tools: [chatTool] } : {}),
});
const usage = { stream_options: { include_usage: true } };

async function chat_whole(one) {
  return said(await client(one).chat.completions.create(ask(one)));
}

async function chat_stream(one) {
  const seen = { text: "", finish: null, output_tokens: null };
  const ids = new Set();
  for await (const chunk of await client(one).chat.completions.create({ ...ask(one), ...usage, stream: true })) {
    ids.add(chunk.id);
    seen.output_tokens = chunk.usage?.completion_tokens ?? seen.output_tokens;
    for (const choice of chunk.choices) {
      seen.text += choice.delta.content ?? "";
      seen.finish = choice.finish_reason ?? seen.finish;
    }
  }
  return { ...seen, ids: ids.size };
}

async function chat_helper(one) {
  const stream = client(one).chat.completions.stream({ ...ask(one), ...usage });
  return said(await stream.finalChatCompletion());
}

async function chat_parse(one) {
  const format = zodResponseFormat(Reply, "reply");
  const completion = await client(one).chat.completions.parse({ ...ask(one), response_format: format });
  return { ...said(completion), parsed: completion.choices[0].message.parsed.answer };
}

const modelOf = (one, turn) => one.models[Math.min(turn, one.models.length - 1)];

// The tool loop of the documentation, every other turn by the stream helper.
async function chat_walk(one) {
  const [api, messages, calls, ids] = [client(one), ask(one).messages, [], []];
  for (let turn = 0; turn < TURNS_MAX; turn++) {
    const wanted = { model: modelOf(one, turn), messages, tools: [chatTool], ...one.more };
    const completion =
      turn % 2 === (one.streamed ?? 1)
        ? await api.chat.completions.stream(wanted).finalChatCompletion()
        : await api.chat.completions.create(wanted);
    const { message, finish_reason: finish } = completion.choices[0];
    ids.push(completion.id);
    if (!message.tool_calls?.length) return { text: message.content, calls, finish, ids };
    messages.push(message);
    for (const call of message.tool_calls) {
      calls.push({ name: call.function.name, arguments: JSON.parse(call.function.arguments) });
      messages.push({ role: "tool", tool_call_id: call.id, content: `result ${calls.length}` });
    }
  }
  return { text: "", calls, finish: "endless", ids };
}

// The package's own tool loop.
async function chat_runner(one) {
  const calls = [];
  const look = (wanted) => {
    calls.push({ name: "look_up", arguments: wanted });
    return `result ${calls.length}`;
  };
  const tools = [{ ...chatTool, function: { ...chatTool.function, function: look, parse: JSON.parse } }];
  const runner = client(one).chat.completions.runTools({ ...ask(one), stream: true, tools });
  return { text: await runner.finalContent(), calls };
}

const answered = (response) => ({
  text: response.output_text,
  calls: response.output
    .filter((item) => item.type === "function_call")
    .map((call) => ({ name: call.name, arguments: call.arguments })),
  finish: response.status,
  output_tokens: response.usage?.output_tokens ?? null,
  failed: response.error?.code ?? null,
});

const request = (one) => ({ model: one.model, input: one.prompt, ...(one.tools ? { tools: [tool] } : {}) });

async function responses_whole(one) {
  return answered(await client(one).responses.create(request(one)));
}

// Plain iteration: the last event holds the response.
async function responses_stream(one) {
  let [text, last, next] = ["", null, 0];
  for await (const event of await client(one).responses.create({ ...request(one), stream: true })) {
    if (event.sequence_number !== next++) throw new Error(`${event.type} has the number ${event.sequence_number}`);
    last = event;
    if (event.type === "response.output_text.delta") text += event.delta;
  }
  const { response } = last;
  // Only the parser of whole answers makes this field.
  const output_text = response.output
    .flatMap((item) => (item.type === "message" ? item.content : []))
    .map((part) => part.text)
    .join("");
  return { ...answered({ ...response, output_text }), joined: text, last: last.type };
}

async function responses_helper(one) {
  const stream = client(one).responses.stream(request(one));
  const kinds = new Set();
  for await (const event of stream) kinds.add(event.type);
  return { ...answered(await stream.finalResponse()), kinds: [...kinds].sort() };
}

async function responses_parse(one) {
  const format = { text: { format: zodTextFormat(Reply, "reply") } };
  const response = await client(one).responses.parse({ ...request(one), ...format });
  return { ...answered(response), parsed: response.output_parsed.answer };
}

async function responses_stream_parse(one) {
  const format = { text: { format: zodTextFormat(Reply, "reply") } };
  const response = await client(one).responses.stream({ ...request(one), ...format }).finalResponse();
  return { ...answered(response), parsed: response.output_parsed.answer };
}

// Keeps the conversation itself, or (`by_id`) lets the other side keep it.
async function responses_walk(one) {
  const [api, calls, ids] = [client(one), [], []];
  let input = [{ role: "user", content: one.prompt }];
  for (let turn = 0; turn < TURNS_MAX; turn++) {
    const wanted = { model: modelOf(one, turn), input, tools: [tool], ...one.more };
    if (one.by_id && ids.length) wanted.previous_response_id = ids.at(-1);
    const response =
      turn % 2 === (one.streamed ?? 1)
        ? await api.responses.stream(wanted).finalResponse()
        : await api.responses.create(wanted);
    ids.push(response.id);
    const asked = response.output.filter((item) => item.type === "function_call");
    if (!asked.length) return { text: response.output_text, calls, finish: response.status, ids };
    input = one.by_id ? [] : [...input, ...response.output];
    for (const call of asked) {
      calls.push({ name: call.name, arguments: JSON.parse(call.arguments) });
      input.push({ type: "function_call_output", call_id: call.call_id, output: `result ${calls.length}` });
    }
  }
  return { text: "", calls, finish: "endless", ids };
}

// A response that is kept: fetched, deleted, and gone.
async function responses_kept(one) {
  const api = client(one);
  const made = await api.responses.create(request(one));
  const again = await api.responses.retrieve(made.id);
  await api.responses.delete(made.id);
  const gone = await api.responses.retrieve(made.id).then(
    () => null,
    (error) => (error instanceof OpenAI.NotFoundError ? error.status : String(error)),
  );
  return { ...answered(again), same: again.id === made.id, gone };
}

async function embeddings(one) {
  const wanted = { model: one.model, input: ["a rope", "a line"], dimensions: 16 };
  const { data } = await client(one).embeddings.create(wanted);
  return {
    sizes: data.map((vector) => vector.embedding.length),
    norm: data[0].embedding.reduce((sum, x) => sum + x * x, 0),
  };
}

async function completions(one) {
  const [api, wanted] = [client(one), { model: one.model, prompt: one.prompt }];
  const whole = (await api.completions.create(wanted)).choices[0];
  let joined = "";
  for await (const part of await api.completions.create({ ...wanted, stream: true })) {
    joined += part.choices[0]?.text ?? "";
  }
  return { text: whole.text, joined, finish: whole.finish_reason };
}

async function models(one) {
  const [api, ids] = [client(one), []];
  for await (const model of api.models.list()) ids.push(model.id);
  return { ids, one: (await api.models.retrieve(one.model)).id };
}

main({
  chat_whole,
  chat_stream,
  chat_helper,
  chat_parse,
  chat_walk,
  chat_runner,
  responses_whole,
  responses_stream,
  responses_helper,
  responses_parse,
  responses_stream_parse,
  responses_walk,
  responses_kept,
  embeddings,
  completions,
  models,
});
