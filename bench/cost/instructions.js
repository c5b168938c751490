'use strict';

// Instructions per request in the worker, as callgrind counts them.

const { Callgrind } = require('../../harness/callgrind');
const { Client } = require('../../harness/client');
const { spread } = require('../../harness/statistics');

const WARM_UP = 50;

async function countInstructions(proxy, request, { segments, requests }) {
  const callgrind = new Callgrind(proxy);

  await callgrind.start();

  const client = await Client.connect(proxy.port);
  const perRequest = [];

  await client.repeat(request.text, WARM_UP);
  await callgrind.instructions();

  for (let i = 0; i < segments; i++) {
    await client.repeat(request.text, requests);
    perRequest.push(await callgrind.instructions() / requests);
  }

  client.close();
  await proxy.stop();

  return spread(perRequest);
}

module.exports = { countInstructions };
