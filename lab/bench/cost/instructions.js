'use strict';

// Instructions per request in the worker, as callgrind counts them.

const { Callgrind } = require('../../harness/callgrind');
const { Client } = require('../../harness/client');
const { spread } = require('../../harness/statistics');

const WARM_UP = 50;
const SEGMENTS = 2;
const PADDING = '-longer';

// Within a run the count is the same for all requests. Between runs it differs by a percent at times, since the places
// that malloc finds depend on as little as the length of a path: so there are several, each with another length.
async function countInstructions(start, request, { launches, requests }) {
  const counts = [];

  for (let i = 0; i < launches; i++) {
    counts.push(...await countOnce(await start(PADDING.repeat(i)), request, requests));
  }

  return spread(counts);
}

async function countOnce(proxy, request, requests) {
  const callgrind = new Callgrind(proxy);

  await callgrind.start();

  const client = await Client.connect(proxy.port);
  const counts = [];

  await client.repeat(request.text, WARM_UP);
  await callgrind.instructions();

  for (let i = 0; i < SEGMENTS; i++) {
    await client.repeat(request.text, requests);
    counts.push(await callgrind.instructions() / requests);
  }

  client.close();
  await proxy.stop();

  return counts;
}

module.exports = { countInstructions };
