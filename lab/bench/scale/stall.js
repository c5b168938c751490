'use strict';

// For how long the worker answers nobody, seen from outside.

const path = require('node:path');

const { Client, get } = require('../../harness/client');
const { startNode, stop } = require('../../harness/processes');
const { median } = require('../../harness/statistics');
const { sleep } = require('../../harness/wait');
const { Remote } = require('./messages');

const QUIET = 300;
const STATUS_REQUESTS = 20;

async function startProber(port) {
  const prober = new Remote(startNode(path.join(__dirname, 'prober.js'), []));

  await prober.call('connect', port);

  return prober;
}

// While many idle connections expire: as they do after a burst of requests, or all in one moment, since the worker was
// stopped while their time passed.
async function measureExpiry(scene, { idle, overdue }) {
  await scene.proxy.start();

  const prober = await startProber(scene.proxy.port);

  // what the machine itself does to an answer
  await prober.call('start');
  await sleep(QUIET);
  const quiet = await prober.call('finish');

  await scene.fill(idle);

  // the processors are for the worker and the prober
  scene.backend.kill('SIGSTOP');

  if (overdue) {
    process.kill(scene.pid, 'SIGSTOP');
    await sleep(1000 * scene.keep);
    await prober.call('resume', scene.pid);
  } else {
    await prober.call('start');
  }

  await scene.expired();

  const { longest } = await prober.call('finish');

  await stop(prober.child);
  await scene.stop();

  return { longest, quiet: quiet.longest };
}

// While the status of many upstreams is rendered: the time that a request of it takes, its size, and the time for which
// others wait.
async function measureStatus(scene, format) {
  const prober = await startProber(scene.proxy.port);
  const client = await Client.connect(scene.proxy.port);
  const times = [];
  const stalls = [];
  let size;

  for (let i = 0; i < STATUS_REQUESTS; i++) {
    await prober.call('start');

    const from = process.hrtime.bigint();
    const { body } = await client.request(get(`/${format}`));

    times.push(Number(process.hrtime.bigint() - from) / 1e6);
    stalls.push((await prober.call('finish')).longest);
    size = body.length;
  }

  client.close();
  await stop(prober.child);

  return { format, size, milliseconds: median(times), stall: median(stalls) };
}

module.exports = { measureExpiry, measureStatus };
