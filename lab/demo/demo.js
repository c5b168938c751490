'use strict';

// node demo.js <nginx> <module>
//
// POSTs go through nginx to a Node backend, with pauses around the backend's keep-alive timeout: first through stock
// nginx, then with the module; on a quiet worker, then on one that is blocked now and then.
// DEMO_LEAVE=1 keeps the directory with the configurations and logs.

const { once } = require('node:events');
const fs = require('node:fs');
const path = require('node:path');

const { makeDirectory } = require('../harness/directory');
const { Load } = require('../harness/load');
const { startNode, stop } = require('../harness/processes');
const { Progress } = require('../harness/progress');
const { Proxy } = require('../harness/proxy');
const { Stall } = require('../harness/stall');
const { sleep, within } = require('../harness/wait');
const { table, verdict } = require('./report');

// milliseconds, as all times here
const TIMEOUT = 1000;
const RUN = 10_500;
const STALL = 700;
const STALL_EVERY = 1500;
const START_WITHIN = 10_000;

const CLIENTS = 300;
const POSTS_AT_MOST = 50;

const IDLE_TIMEOUT = 'upstream_idle_timeout 1s margin=250ms';

const RUNS = [
  // nginx as most have it: the default
  { scenario: 'quiet worker', idle: 'keepalive_timeout 60s' },
  { scenario: 'quiet worker', idle: IDLE_TIMEOUT, withModule: true },
  // the most that can be done without the module
  { scenario: 'stalled worker', idle: 'keepalive_timeout 750ms', stalls: true },
  { scenario: 'stalled worker', idle: IDLE_TIMEOUT, stalls: true, withModule: true },
];

async function main([nginx, moduleFile]) {
  if (!nginx || !moduleFile) {
    throw new Error('usage: node demo.js <nginx> <module>');
  }

  [nginx, moduleFile].forEach((file) => fs.accessSync(file));

  console.log(`${CLIENTS} clients send POSTs through nginx to a Node backend that closes idle`);
  console.log(`connections after ${TIMEOUT} ms. Half of their pauses are about as long.\n`);

  const directory = makeDirectory('demo', process.env.DEMO_LEAVE);
  const backend = startNode(path.join(__dirname, 'backend.js'), [TIMEOUT]);
  const [{ port }] = await within(once(backend, 'message'), START_WITHIN, 'the backend to listen');

  const results = [];

  for (const run of RUNS) {
    const proxy = new Proxy(nginx, path.join(directory, `run-${results.length + 1}`));

    await proxy.configure({
      moduleFile: run.withModule && moduleFile,
      idle: run.idle,
      clients: CLIENTS,
      backend: `127.0.0.1:${port}`,
    });

    results.push({ ...run, ...await measure(run, proxy) });
  }

  await stop(backend);

  console.log(`\n${table(results)}\n`);
  console.log(verdict(results));
}

async function measure({ scenario, idle, stalls }, proxy) {
  console.log(`${scenario}, ${idle}`);

  const stall = new Stall(proxy.file('stall.fifo'));

  await proxy.start();

  const load = new Load({
    port: proxy.port,
    clients: CLIENTS,
    milliseconds: RUN,
    posts: POSTS_AT_MOST,
    pause,
  });

  const progress = new Progress(() => `  ${load.requests} POSTs, ${load.bad.length} answered 502`);

  try {
    const work = [load.run(), stalls && stallNowAndThen(stall, proxy.stallPort)];
    await Promise.race([Promise.all(work), proxy.ended]);
  } finally {
    progress.stop();
  }

  stall.close();
  await proxy.stop();

  return load.results(proxy.staleReuses());
}

// Without stalls only the milliseconds around the timeout are a danger: half of the pauses end there.
function pause() {
  return Math.random() < 0.5
    ? TIMEOUT - 4 + 8 * Math.random()
    : TIMEOUT * 1.2 * Math.random();
}

async function stallNowAndThen(stall, port) {
  for (let left = RUN; left >= STALL_EVERY; left -= STALL_EVERY) {
    await sleep(STALL_EVERY - STALL);
    await stall.once(port, STALL);
  }
}

main(process.argv.slice(2)).then(
  () => process.exit(0),
  (error) => {
    console.error(`demo: ${error.message}`);
    process.exit(1);
  },
);
