'use strict';

// A FastCGI request that asks to keep the connection.

const BEGIN_REQUEST = 1;
const PARAMS = 4;
const STDIN = 5;

const RESPONDER_KEEP_CONN = Buffer.from([0, 1, 1, 0, 0, 0, 0, 0]);

function request(script) {
  const params = Object.entries({ REQUEST_METHOD: 'POST', CONTENT_LENGTH: '0', SCRIPT_FILENAME: script })
    .map(([name, value]) => Buffer.concat([Buffer.from([name.length, value.length]), Buffer.from(name + value)]));

  return Buffer.concat([
    record(BEGIN_REQUEST, RESPONDER_KEEP_CONN),
    record(PARAMS, Buffer.concat(params)),
    record(PARAMS, Buffer.alloc(0)),
    record(STDIN, Buffer.alloc(0)),
  ]);
}

function record(type, content) {
  const header = Buffer.from([1, type, 0, 1, content.length >> 8, content.length & 0xff, 0, 0]);

  return Buffer.concat([header, content]);
}

module.exports = { request };
