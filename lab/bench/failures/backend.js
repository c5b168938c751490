'use strict';

// The backend, a process of its own: `node backend.js <timeout> [busy]`. It closes a connection that was idle for the
// timeout on its own clock, on one port as a server does and on the other with RST. A busy one does nothing else for 20
// of every 100 ms.
//
// A POST to /<client>/<number> is answered with the connection's number and with the client's idle age: for how long it
// had waited for that POST since it had handed its last answer to the kernel, on whatever connection.

const http = require('node:http');
const { monitorEventLoopDelay } = require('node:perf_hooks');

const { goFirst } = require('./priority');
const { Sample } = require('./sample');

const [timeout, busy] = [Number(process.argv[2]), process.argv[3] === 'busy'];

const BUSY = 20;
const BUSY_EVERY = 100;

// A connection is closed at its time to the fraction of a millisecond, for which timers of Node are too coarse.
class Idle {
  constructor(socket, close) {
    Object.assign(this, { socket, close });
  }

  begin(now) {
    this.due = now + timeout;
    this.wait(timeout - 1);
  }

  end() {
    clearTimeout(this.timer);
    clearImmediate(this.soon);
  }

  wait(milliseconds) {
    if (milliseconds >= 1) {
      this.timer = setTimeout(() => this.look(), Math.floor(milliseconds));
    } else {
      this.soon = setImmediate(() => this.look());
    }
  }

  look() {
    const left = this.due - performance.now();

    if (left > 0) {
      this.wait(left);
    } else if (!this.socket.destroyed) {
      late.add(-left);
      this.close(this.socket);
    }
  }
}

class Client {
  constructor() {
    this.received = 0;
    this.twice = 0;
    this.last = 0;
  }

  receive(number, now) {
    this.received++;
    this.twice += number <= this.last ? 1 : 0;
    this.last = Math.max(this.last, number);

    return this.answered === undefined ? '-' : (now - this.answered).toFixed(3);
  }
}

const late = new Sample();
const lag = monitorEventLoopDelay();
const clients = new Map();

let connections = 0;

function listen(close) {
  // Node's own timeout is later than it tells in newer versions
  const server = http.createServer({ keepAliveTimeout: 0 }, answer);

  server.on('connection', (socket) => {
    socket.number = ++connections;
    socket.idle = new Idle(socket, close);
    socket.on('close', () => socket.idle.end());
  });

  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server.address().port)));
}

function answer(request, response) {
  const { socket } = request;
  const now = performance.now();

  socket.idle.end();

  const [, name, number] = request.url.split('/');
  const client = clients.get(name) ?? new Client();

  clients.set(name, client);

  const age = client.receive(Number(number), now);

  request.resume().on('end', () => {
    response.setHeader('X-Connection', socket.number);
    response.setHeader('X-Idle', age);
    response.setHeader('Keep-Alive', `timeout=${timeout / 1000}`);
    response.end('ok\n');
  });

  response.on('finish', () => {
    client.answered = performance.now();
    socket.idle.begin(client.answered);
  });
}

function work() {
  const end = performance.now() + BUSY;

  while (performance.now() < end);
}

// The answer to whoever asks how it was.
process.on('message', () => {
  const figures = [...clients].map(([name, { received, twice }]) => [name, { received, twice }]);

  process.send({ clients: Object.fromEntries(figures), late: late.summary(), lag: Sample.ofLag(lag) });
});

process.on('disconnect', () => process.exit());

goFirst();

async function main() {
  const close = await listen((socket) => socket.destroy());
  const reset = await listen((socket) => socket.resetAndDestroy());

  lag.enable();

  if (busy) {
    setInterval(work, BUSY_EVERY);
  }

  process.send({ close, reset });
}

main();
