// An HTTP/2 server of Node's own before the simulator; one line for each thing
// that it sees. Arguments: the simulator's port, then certificate and key or
// nothing (then without TLS). A model `h2-NAME` is a fault played here.
const http = require('node:http');
const http2 = require('node:http2');
const fs = require('node:fs');
const [port, certificate, key] = process.argv.slice(1);
const say = (...words) => fs.writeSync(1, words.join(' ') + '\n');
const { NGHTTP2_INTERNAL_ERROR, NGHTTP2_REFUSED_STREAM } = http2.constants;
let refused = 0;

const FRAME = 'data: {"id":"x","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"word "}}]}\n\n';
const faults = {
  // Refused untouched, the first time.
  'h2-refuse': (stream) => (refused++ ? false : stream.close(NGHTTP2_REFUSED_STREAM) || true),
  'h2-reset-first': (stream) => stream.close(NGHTTP2_INTERNAL_ERROR) || true,
  'h2-reset': (stream) => {
    stream.respond({ ':status': 200, 'content-type': 'text/event-stream' });
    stream.write(FRAME.repeat(3), () => stream.destroy(new Error('cut')));
    return true;
  },
  'h2-end': (stream) => {
    stream.respond({ ':status': 200, 'content-type': 'text/event-stream' });
    stream.end(FRAME.repeat(3));
    return true;
  },
};

function onStream(stream, headers) {
  stream.on('error', () => {});
  stream.on('close', () => say('closed', stream.rstCode));
  if (Number(headers['content-length']) > 8e6) {
    // An answer before the upload has ended.
    stream.respond({ ':status': 413, 'content-type': 'application/json' });
    stream.end('{"error":{"message":"too large","type":"invalid_request_error"}}');
    return;
  }
  const parts = [];
  stream.on('data', (part) => parts.push(part));
  stream.on('end', () => {
    const body = Buffer.concat(parts);
    const model = body.length ? JSON.parse(body).model : '';
    say('asked', headers[':scheme'], headers[':authority'], model, body.length);
    const fault = faults[model];
    if (fault && fault(stream)) return;
    const forwarded = Object.fromEntries(Object.entries(headers).filter(([name]) => !name.startsWith(':')));
    const asked = http.request({ port, method: headers[':method'], path: headers[':path'], headers: forwarded });
    asked.on('response', (answer) => {
      const { connection, 'transfer-encoding': _, ...rest } = answer.headers;
      stream.respond({ ':status': answer.statusCode, ...rest });
      answer.pipe(stream);
    });
    asked.on('error', () => stream.close(NGHTTP2_INTERNAL_ERROR));
    stream.on('close', () => asked.destroy());
    asked.end(body);
  });
}

const server = certificate
  ? http2.createSecureServer({ cert: fs.readFileSync(certificate), key: fs.readFileSync(key) })
  : http2.createServer();
server.on('session', () => say('session'));
server.on('stream', onStream);
server.listen(0, '127.0.0.1', () => say('listening', server.address().port));
