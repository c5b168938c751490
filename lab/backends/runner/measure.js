'use strict';

// What a backend does with an idle connection, seen from a bare socket.

const { once } = require('node:events');
const net = require('node:net');

const { sleep, within } = require('../../harness/wait');
const fastcgi = require('./fastcgi');
const { steadily } = require('./lag');

const SAMPLES = 15;
const LAG_AT_MOST = 50;
const STARTS_OVER = 2000;
// the first answer may need much to be compiled
const FIRST_ANSWER_WITHIN = 60_000;
// some never close
const CLOSES_WITHIN = 10_000;
// Some look at their connections only now and then, and when they do depends on whether they have other work.
const NEIGHBOURS = 30;
const NEIGHBOUR_PAUSES = 600;

const PLAIN = '';
const ASKING = 'Connection: keep-alive\r\n';

// The idle ages at closing, in order, Infinity where it does not close; the median; and whether it tells its timeout.
async function measure(backend) {
  await answered(backend);

  return steadily(LAG_AT_MOST, () => take(backend));
}

async function take(backend) {
  const neighbours = Array.from({ length: NEIGHBOURS }, () => keepBusy(backend));

  const samples = await Promise.all(Array.from({ length: SAMPLES }, async (_, i) => {
    await sleep(STARTS_OVER * i / SAMPLES);
    return sample(backend, i % 2 ? ASKING : PLAIN);
  })).finally(() => neighbours.forEach((stop) => stop()));

  const ages = samples.map(({ age }) => age).sort((a, b) => a - b);
  const tells = (header) => samples.some((one) => one.header === header && one.tells);

  return {
    ages,
    median: ages[Math.floor(ages.length / 2)],
    hint: tells(PLAIN) ? 'always' : tells(ASKING) ? 'when asked' : 'no',
  };
}

async function answered(backend) {
  const socket = net.connect(backend.port, '127.0.0.1');

  socket.write(request(backend, PLAIN));

  try {
    await within(Promise.race([once(socket, 'data'), backend.ended]), FIRST_ANSWER_WITHIN, 'it answers');
  } finally {
    socket.destroy();
  }
}

async function sample(backend, header) {
  const socket = net.connect(backend.port, '127.0.0.1');
  let response = '';
  let last;

  socket.on('data', (data) => {
    response += data.toString('latin1');
    last = performance.now();
  });

  const ageAtClosing = new Promise((resolve, reject) => {
    const closed = () => resolve(performance.now() - last);

    socket.on('end', closed);
    socket.on('error', (error) => (response ? closed() : reject(error)));
    sleep(CLOSES_WITHIN, undefined, { ref: false }).then(() => resolve(Infinity));
  });

  socket.write(request(backend, header));

  const age = await ageAtClosing;

  socket.destroy();

  if (!/x-connection:/i.test(response)) {
    throw new Error(`it does not answer as it should:\n${response}`);
  }

  return { age, header, tells: /^keep-alive:.*timeout=/im.test(response) };
}

// Requests on one connection, with pauses; the answers are of no interest. Returns what ends it.
function keepBusy(backend) {
  const socket = net.connect(backend.port, '127.0.0.1').on('error', () => {}).resume();
  let timer;

  function next() {
    socket.write(request(backend, PLAIN));
    timer = setTimeout(next, NEIGHBOUR_PAUSES * Math.random());
  }

  next();

  return () => {
    clearTimeout(timer);
    socket.destroy();
  };
}

function request({ definition, fetched }, header) {
  if (definition.fastcgi) {
    return fastcgi.request(definition.script(fetched));
  }

  return `POST /0 HTTP/1.1\r\nHost: localhost\r\n${header}Content-Length: 2\r\n\r\nok`;
}

module.exports = { measure };
