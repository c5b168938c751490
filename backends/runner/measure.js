'use strict';

// What a backend does with an idle connection, seen from a bare socket.

const net = require('node:net');

const { sleep, within } = require('../../harness/wait');
const fastcgi = require('./fastcgi');

const SAMPLES = 15;
// those that look at their connections only now and then close early or late, by when the connection became idle
const STARTS_OVER = 2000;
const CLOSES_WITHIN = 30_000;

const PLAIN = '';
const ASKING = 'Connection: keep-alive\r\n';

// The idle ages at closing, in order; the median; and when the backend tells its timeout.
async function measure(backend) {
  const samples = await Promise.all(Array.from({ length: SAMPLES }, async (_, i) => {
    await sleep(STARTS_OVER * i / SAMPLES);
    return sample(backend, i % 2 ? ASKING : PLAIN);
  }));

  const ages = samples.map(({ age }) => age).sort((a, b) => a - b);
  const tells = (header) => samples.some((one) => one.header === header && one.tells);

  return {
    ages,
    median: ages[Math.floor(ages.length / 2)],
    hint: tells(PLAIN) ? 'always' : tells(ASKING) ? 'when asked' : 'no',
  };
}

async function sample({ port, definition, fetched }, header) {
  const socket = net.connect(port, '127.0.0.1');
  let response = '';
  let last;

  socket.on('data', (data) => {
    response += data.toString('latin1');
    last = performance.now();
  });

  const closed = new Promise((resolve, reject) => {
    socket.on('end', resolve);
    socket.on('error', (error) => (response ? resolve() : reject(error)));
  });

  socket.write(definition.fastcgi ? fastcgi.request(definition.script(fetched)) : request(header));

  try {
    await within(closed, CLOSES_WITHIN, 'it closes an idle connection');
  } finally {
    socket.destroy();
  }

  if (!/x-connection:/i.test(response)) {
    throw new Error(`it does not answer as it should:\n${response}`);
  }

  return { age: performance.now() - last, header, tells: /^keep-alive:.*timeout=/im.test(response) };
}

function request(header) {
  return `POST /0 HTTP/1.1\r\nHost: localhost\r\n${header}Content-Length: 2\r\n\r\nok`;
}

module.exports = { measure };
