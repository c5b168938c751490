'use strict';

// A link with latency, a process of its own: `node relay.js <port> <milliseconds> ...`. For each of the latencies there
// is a port; what comes there goes to the backend's port, and back, that much later: data, FIN and RST.

const net = require('node:net');
const { monitorEventLoopDelay } = require('node:perf_hooks');

const { goFirst } = require('./priority');
const { Sample } = require('./sample');

const [target, ...latencies] = process.argv.slice(2).map(Number);

function listen(latency) {
  const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (near) => {
    const far = net.connect({ port: target, host: '127.0.0.1', allowHalfOpen: true, noDelay: true });

    carry(near, far, latency);
    carry(far, near, latency);
  });

  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server.address().port)));
}

// Timers of one duration run in their order.
function carry(from, to, latency) {
  const later = (action) => setTimeout(() => to.destroyed || action(), latency);

  from.on('data', (data) => later(() => to.write(data)));
  from.on('end', () => later(() => to.end()));
  from.on('error', () => later(() => to.resetAndDestroy()));
}

const lag = monitorEventLoopDelay();

// the answer to whoever asks how it was
process.on('message', () => process.send({ lag: Sample.ofLag(lag) }));

process.on('disconnect', () => process.exit());

goFirst();
lag.enable();

Promise.all(latencies.map(listen)).then((ports) => process.send({ ports }));
