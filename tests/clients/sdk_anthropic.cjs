// The anthropic package for Node: messages with all its helpers.
//
// See driven.cjs for how it is asked. Everything is done as the package's own
// documentation does it.

const Anthropic = require("@anthropic-ai/sdk");
const { betaTool } = require("@anthropic-ai/sdk/helpers/beta/json-schema");
const { zodOutputFormat } = require("@anthropic-ai/sdk/helpers/zod");
const { z } = require("zod");
const { main, schema, TURNS_MAX } = require("./driven.cjs");

const tool = { name: "look_up", description: "looks up", input_schema: schema };
// What the simulator says in JSON.
const Reply = z.object({ answer: z.string() });

// The package takes the address without its path.
const client = (one) => new Anthropic({ baseURL: one.at, apiKey: "sk-of-the-user", maxRetries: one.retries ?? 0 });

const ask = (one) => ({
  model: one.model,
  max_tokens: 4000,
  messages: [{ role: "user", content: one.prompt }],
  ...(one.tools ? { tools: [tool] } : {}),
  ...one.more,
});

const blocks = (message, type) => message.content.filter((block) => block.type === type);
const said = (message) => ({
  text: blocks(message, "text").map((block) => block.text).join(""),
  thinking: blocks(message, "thinking").map((block) => block.thinking).join(""),
  calls: blocks(message, "tool_use").map((block) => ({ name: block.name, arguments: block.input })),
  finish: message.stop_reason,
  output_tokens: message.usage.output_tokens,
});

async function messages_whole(one) {
  return said(await client(one).messages.create(ask(one)));
}

async function messages_stream(one) {
  const [kinds, texts] = [[], []];
  for await (const event of await client(one).messages.create({ ...ask(one), stream: true })) {
    kinds.push(event.type);
    if (event.delta?.type === "text_delta") texts.push(event.delta.text);
  }
  return { text: texts.join(""), first: kinds[0], last: kinds.at(-1) };
}

async function messages_helper(one) {
  let joined = "";
  const stream = client(one).messages.stream(ask(one)).on("text", (text) => (joined += text));
  return { ...said(await stream.finalMessage()), joined };
}

// The helper's own events, which agents read.
async function messages_events(one) {
  const [stream, kinds] = [client(one).messages.stream(ask(one)), new Set()];
  for await (const event of stream) kinds.add(event.type);
  return { ...said(await stream.finalMessage()), kinds: [...kinds].sort() };
}

async function messages_parse(one) {
  const format = { output_config: { format: zodOutputFormat(Reply) } };
  const message = await client(one).messages.parse({ ...ask(one), ...format });
  return { ...said(message), parsed: message.parsed_output.answer };
}

// The tool loop of the documentation, every other turn by the stream helper.
async function messages_walk(one) {
  const [api, wanted, calls, ids] = [client(one), ask({ ...one, tools: true }), [], []];
  let thought = 0;
  for (let turn = 0; turn < TURNS_MAX; turn++) {
    wanted.model = one.models[Math.min(turn, one.models.length - 1)];
    const message =
      turn % 2 === (one.streamed ?? 1)
        ? await api.messages.stream(wanted).finalMessage()
        : await api.messages.create(wanted);
    ids.push(message.id);
    thought += blocks(message, "thinking").length;
    const asked = blocks(message, "tool_use");
    if (!asked.length) return { ...said(message), calls, ids, thought };
    wanted.messages.push({ role: "assistant", content: message.content });
    const results = asked.map((block) => {
      calls.push({ name: block.name, arguments: block.input });
      return { type: "tool_result", tool_use_id: block.id, content: `result ${calls.length}` };
    });
    wanted.messages.push({ role: "user", content: results });
  }
  return { text: "", calls, finish: "endless", ids, thought };
}

// The package's own tool loop.
async function messages_runner(one) {
  const [calls, ids] = [[], []];
  const run = (input) => {
    calls.push({ name: "look_up", arguments: input });
    return `result ${calls.length}`;
  };
  const look = betaTool({ name: "look_up", description: "looks up", inputSchema: schema, run });
  const runner = client(one).beta.messages.toolRunner({ ...ask(one), tools: [look] });
  let last = null;
  for await (const message of runner) ids.push((last = message).id);
  return { ...said(last), calls, ids };
}

async function count_tokens(one) {
  const { max_tokens: _, ...wanted } = ask(one);
  return { input_tokens: (await client(one).messages.countTokens(wanted)).input_tokens };
}

async function models(one) {
  const [api, ids] = [client(one), []];
  for await (const model of api.models.list()) ids.push(model.id);
  return { ids, one: (await api.models.retrieve(one.model)).id };
}

main({
  messages_whole,
  messages_stream,
  messages_helper,
  messages_events,
  messages_parse,
  messages_walk,
  messages_runner,
  count_tokens,
  models,
});
