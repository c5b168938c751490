'use strict';

// The classes of requests. All run at the same time.
//   pause()   for how long a client is idle, in ms
//   backend   which backend it has: how that closes its connections, or whether it is busy
//   latency   of the link to it, one way
//   blocked   nginx's worker stands still now and then

const TIMEOUT = 1000;

const anyAge = () => 1.2 * TIMEOUT * Math.random();
const closeToTimeout = () => TIMEOUT - 10 + 22 * Math.random();

const CLASSES = [
  { name: 'quiet', pause: anyAge, backend: 'close' },
  { name: 'edge', pause: closeToTimeout, backend: 'close' },
  { name: 'blocked', pause: anyAge, backend: 'close', blocked: true },
  { name: '20 ms', pause: anyAge, backend: 'close', latency: 20 },
  { name: '50 ms', pause: anyAge, backend: 'close', latency: 50 },
  { name: 'busy', pause: anyAge, backend: 'busy' },
  { name: 'rst', pause: anyAge, backend: 'reset' },
];

const LATENCIES = CLASSES.flatMap(({ latency }) => latency ?? []);

module.exports = { CLASSES, LATENCIES, TIMEOUT };
