'use strict';

// Instructions of the worker while it holds many idle connections: per request, and per connection that expires.

const { Callgrind } = require('../../harness/callgrind');
const { Client, get } = require('../../harness/client');
const { until } = require('../../harness/wait');

const WARM_UP = 20;
const REQUESTS = 200;

async function countInstructions(scene, { idle, upstreams }) {
  const callgrind = new Callgrind(scene.proxy);

  await callgrind.start();

  const client = await Client.connect(scene.proxy.port);

  // a request that nginx finds as fast with one upstream as with many
  const request = get(`/u${upstreams >> 1}`);

  await (upstreams > 1 ? one(client, scene, upstreams) : scene.fill(idle));

  await client.repeat(request, WARM_UP);
  await callgrind.instructions();
  await client.repeat(request, REQUESTS);

  const perRequest = await callgrind.instructions() / REQUESTS;

  // else a part of them is not counted
  if (await scene.remote.call('open') < idle) {
    throw new Error(`nginx is too slow here: some of ${idle} idle connections were gone within ${scene.keep} s`);
  }

  await scene.expired();

  const perExpiry = await callgrind.instructions() / idle;

  client.close();
  await scene.stop();

  return { perRequest, perExpiry };
}

// One connection of each upstream.
async function one(client, scene, upstreams) {
  for (let i = 0; i < upstreams; i++) {
    await client.request(get(`/u${i}`));
  }

  scene.empty = scene.openFiles() - upstreams;
  scene.filled = upstreams;
  await until(async () => await scene.remote.call('open') === upstreams, 5000, 'a connection of each upstream');
}

module.exports = { countInstructions, one };
