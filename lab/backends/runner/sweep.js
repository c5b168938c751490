'use strict';

// POSTs through nginx to a backend, with pauses around the age at which it closes idle connections.

const { mkdtempSync } = require('node:fs');
const path = require('node:path');

const { Load } = require('../../harness/load');
const { Progress } = require('../../harness/progress');
const { Proxy, fill } = require('../../harness/proxy');
const { steadily } = require('./lag');

const RUN = 9000;
const CLIENTS = 300;
const POSTS_AT_MOST = 100;
// half of the pauses end so close to such an age, in ms
const NEAR = 4;
const LAG_AT_MOST = 150;

// for one that never closes
const TIMEOUT = 1000;

const MARGIN = '250ms';
// nginx's default
const STOCK = 'keepalive_timeout 60s';

function sweep(backend, measured, nginx) {
  return steadily(LAG_AT_MOST, () => once(backend, measured, nginx));
}

async function once(backend, measured, { nginx, moduleFile }) {
  const { definition } = backend;
  const timeout = definition.timeout ?? TIMEOUT;
  const ages = measured.ages.at(-1) === Infinity ? [timeout] : measured.ages;
  const idle = moduleFile ? `upstream_idle_timeout ${timeout}ms margin=${MARGIN}` : STOCK;
  const clients = definition.clients ?? CLIENTS;

  console.log(`  ${idle}`);

  const proxy = new Proxy(nginx, mkdtempSync(path.join(backend.directory, 'nginx-')), __dirname);

  await proxy.configure({
    moduleFile,
    backend: `127.0.0.1:${backend.port}`,
    idle,
    clients,
    pass: pass(backend, measured),
  });
  await proxy.start();

  const load = new Load({
    port: proxy.port,
    clients,
    milliseconds: RUN,
    posts: POSTS_AT_MOST,
    pause: () => pause(ages),
  });

  const progress = new Progress(() => `  ${load.requests} POSTs, ${load.bad.length} answered 502`);

  try {
    await Promise.race([load.run(), proxy.ended, backend.ended]);
  } finally {
    progress.stop();
  }

  await proxy.stop();

  return load.results(proxy.staleReuses());
}

function pass({ definition, fetched }, { hint }) {
  return definition.fastcgi
    ? fill(path.join(__dirname, 'fastcgi.conf'), { script: definition.script(fetched) })
    : fill(path.join(__dirname, 'http.conf'), { connection: hint === 'when asked' ? 'keep-alive' : '' });
}

// A backend that looks at its connections only now and then closes them at quite different ages: each has its turn.
function pause(ages) {
  const age = ages[Math.floor(ages.length * Math.random())];

  return Math.random() < 0.5
    ? age - NEAR + 2 * NEAR * Math.random()
    : 1.2 * age * Math.random();
}

module.exports = { sweep };
