// The openai package for Node against a gateway: one JSON line per case.
//
// Usage: cases.cjs BASE_URL GROUP. The names of the models are the routes that
// tests/it/clients.rs configures. A case never fails here: it prints what the
// package gave or raised, and the Rust test judges.

const OpenAI = require("openai");

const messages = [{ role: "user", content: "why do ropes go slack?" }];
const tools = [
  {
    type: "function",
    function: { name: "look", parameters: { type: "object", properties: { where: { type: "string" } } } },
  },
];
// For headers, as this package counts it: shorter than the silence, so that
// only a gateway that lets headers go early brings the package over it.
const SCALED_PATIENCE = 1500;
const LONG_PATIENCE = 20000;

// Nothing but the base URL is changed; the key is whatever the user has.
const client = (baseURL, more = {}) => new OpenAI({ baseURL, apiKey: "sk-of-the-user", ...more });

// What a program that reads the stream ends up with.
async function stream(api, model, more = {}) {
  const seen = { text: "", chunks: 0, calls: [], finish: null, usage: null, ids: [] };
  const answer = await api.chat.completions.create({ model, messages, stream: true, ...more });
  for await (const chunk of answer) {
    seen.chunks += 1;
    if (!seen.ids.includes(chunk.id)) seen.ids.push(chunk.id);
    if (chunk.usage) seen.usage = chunk.usage.completion_tokens;
    for (const choice of chunk.choices) {
      seen.text += choice.delta.content ?? "";
      seen.finish = choice.finish_reason ?? seen.finish;
      for (const call of choice.delta.tool_calls ?? []) {
        seen.calls[call.index] ??= { name: "", arguments: "" };
        seen.calls[call.index].name += call.function?.name ?? "";
        seen.calls[call.index].arguments += call.function?.arguments ?? "";
      }
    }
  }
  return seen;
}

const plain = (calls) => (calls ?? []).map((call) => ({ name: call.function.name, arguments: call.function.arguments }));

async function whole(api, model, more = {}) {
  const answer = await api.chat.completions.create({ model, messages, ...more });
  const { message, finish_reason: finish } = answer.choices[0];
  return { text: message.content ?? "", calls: plain(message.tool_calls), finish, usage: answer.usage.completion_tokens };
}

// The package's own accumulator, which agents use.
async function helper(api, model) {
  const events = api.chat.completions.stream({ model, messages, tools });
  return { calls: plain((await events.finalMessage()).tool_calls) };
}

// Leaves in the middle of an answer, as a user who presses stop.
async function abort(api, model) {
  const answer = await api.chat.completions.create({ model, messages, stream: true });
  let chunks = 0;
  for await (const _ of answer) {
    chunks += 1;
    if (chunks === 4) answer.controller.abort();
    if (chunks === 4) break;
  }
  return { chunks };
}

async function models(api) {
  const ids = [];
  for await (const model of api.models.list()) ids.push(model.id);
  return { ids };
}

// What a program can see of an error.
const raised = (error) => ({
  class: error.constructor.name,
  status: error.status ?? null,
  code: error.code ?? null,
  param: error.param ?? null,
  type: error.type ?? null,
  message: String(error.message),
  request_id: error.requestID ?? null,
  cause: error.headers?.get?.("x-tautline-cause") ?? null,
  retry_after: error.headers?.get?.("retry-after") ?? null,
  should_retry: error.headers?.get?.("x-should-retry") ?? null,
});

async function told(name, run) {
  try {
    return { case: name, ...(await run()) };
  } catch (error) {
    return { case: name, error: raised(error) };
  }
}

function answers(baseURL) {
  const api = client(baseURL);
  return {
    stream: () => stream(api, "good"),
    whole: () => whole(api, "good"),
    usage: () => stream(api, "good", { stream_options: { include_usage: true } }),
    tools_stream: () => stream(api, "tools", { tools }),
    tools_whole: () => whole(api, "tools", { tools }),
    tools_helper: () => helper(api, "tools"),
    fallback: () => stream(api, "rescued"),
    own_login: () => whole(api, "own"),
    task: () => whole(client(baseURL, { defaultHeaders: { "x-tautline-task": "lookup" } }), "auto"),
    models: () => models(api),
    abort: () => abort(api, "endless"),
  };
}

function errors(baseURL) {
  const api = client(baseURL);
  const cases = {};
  for (const model of ["bad", "policy", "long", "page", "login", "quota", "own", "no-such-model", "late", "closed"]) {
    cases[model] = () => whole(api, model);
  }
  cases.wrong_base_url = () => whole(client(`${baseURL}/v1`), "good");
  cases.late_stream = () => stream(api, "late");
  cases.cut = () => stream(api, "cut");
  // These are tried again by the package: the record tells how often.
  const twice = client(baseURL, { maxRetries: 1 });
  cases.busy = () => whole(twice, "busy");
  cases.busy_then_good = () => whole(twice, "busy-once");
  cases.limited_then_good = () => whole(twice, "limited-once");
  cases.limited_long = () => whole(twice, "limited-long");
  return cases;
}

function silence(baseURL, timeout) {
  const api = client(baseURL, { timeout, maxRetries: 0 });
  return { before: () => stream(api, "quiet"), within: () => stream(api, "halting") };
}

const [baseURL, group] = process.argv.slice(2);
const groups = {
  answers: () => answers(baseURL),
  errors: () => errors(baseURL),
  silence: () => silence(baseURL, SCALED_PATIENCE),
  "long-silence": () => silence(baseURL, LONG_PATIENCE),
};
// Side by side, since most of them wait.
Promise.all(Object.entries(groups[group]()).map(([name, run]) => told(name, run))).then((lines) => {
  for (const line of lines) console.log(JSON.stringify(line));
});
