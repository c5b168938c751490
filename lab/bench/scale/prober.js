'use strict';

// node prober.js, with a channel to its parent
//
// It sends a worker one tiny request after the other, in a process of its own that has nothing else to do. An answer
// that is late tells for how long the worker was busy with something else.

const { Client, get } = require('../../harness/client');
const { serve } = require('./messages');

const REQUEST = get('/nothing');

let client;
let probing;
let over;

serve({
  async connect(port) {
    client = await Client.connect(port);
    await client.request(REQUEST);
  },

  start() {
    probing = probe(client.request(REQUEST));
  },

  // The worker, which was stopped, goes on: from there the time counts.
  resume(pid) {
    const answer = client.request(REQUEST);

    process.kill(pid, 'SIGCONT');
    probing = probe(answer);
  },

  finish() {
    over = true;
    return probing;
  },
});

// The longest time without an answer, in milliseconds, and the number of answers.
async function probe(answer) {
  const result = { longest: 0, count: 0 };

  for (over = false; !over; answer = client.request(REQUEST)) {
    const since = process.hrtime.bigint();

    await answer;

    result.longest = Math.max(result.longest, Number(process.hrtime.bigint() - since) / 1e6);
    result.count++;

    // the parent may have something to say
    await new Promise(setImmediate);
  }

  await answer;

  return result;
}
