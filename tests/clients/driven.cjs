// What the scripts that drive a package share: cases in, one JSON line each out.
//
// A script reads a JSON list of cases from its standard input. Each names its
// action (`do`), the address of the server without a path (`at`), and what else
// its action wants. A case never fails here: it tells what the package gave or
// raised, and the Rust test judges.

const fs = require("fs");

const schema = { type: "object", properties: { query: { type: "string" } }, required: ["query"] };
// Turns of one walk at most; the tests ask for fewer.
const TURNS_MAX = 12;
const AT_ONCE = Number(process.env.TAUTLINE_TEST_AT_ONCE ?? 8);

function bases(error) {
  const names = [];
  for (let one = Object.getPrototypeOf(error); one && one !== Object.prototype; one = Object.getPrototypeOf(one)) {
    names.push(one.constructor.name);
  }
  return names;
}

// What a program can see of an error.
const raised = (error) => ({
  class: error.constructor.name,
  bases: bases(error),
  status: error.status ?? null,
  code: error.code ?? null,
  type: error.type ?? null,
  body: error.error ?? null,
  message: String(error.message),
  request_id: error.requestID ?? null,
  cause: error.headers?.get?.("x-tautline-cause") ?? null,
  retry_after: error.headers?.get?.("retry-after") ?? null,
  should_retry: error.headers?.get?.("x-should-retry") ?? null,
});

async function told(actions, one) {
  try {
    return { name: one.name, ...(await actions[one.do](one)) };
  } catch (error) {
    return { name: one.name, error: raised(error) };
  }
}

// Side by side, since most of them wait.
async function main(actions) {
  const cases = JSON.parse(fs.readFileSync(0, "utf8"));
  const lines = new Array(cases.length);
  let next = 0;
  const worker = async () => {
    while (next < cases.length) {
      const at = next++;
      lines[at] = await told(actions, cases[at]);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  for (const line of lines) console.log(JSON.stringify(line));
}

module.exports = { main, schema, TURNS_MAX };
