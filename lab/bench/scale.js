'use strict';

// node scale.js <nginx> <module> <directory for downloads and builds> [quick]
//
// What many idle connections and many upstreams cost, beside stock nginx: instructions, memory, and the time for which
// the worker answers nobody.

const { Client } = require('../harness/client');
const { Progress } = require('../harness/progress');
const { spread } = require('../harness/statistics');
const { benchmark, present, versions } = require('./benchmark');
const { machine } = require('./machine');
const { countInstructions, one } = require('./scale/instructions');
const { buildCounter, measureMemory } = require('./scale/memory');
const report = require('./scale/report');
const { possible, Scene } = require('./scale/scene');
const { measureExpiry, measureStatus } = require('./scale/stall');

const WANTED = 20_000;

// `keep` is in seconds: longer than it takes to make so many idle connections, under callgrind where that counts.
const FULL = {
  cases: (most) => [
    { idle: 10, upstreams: 1, keep: 2 },
    { idle: 1000, upstreams: 1, keep: 3 },
    { idle: most, upstreams: 1, keep: 20 },
    { idle: 1000, upstreams: 1000, keep: 5 },
  ],
  memory: (most) => ({ few: 1000, many: most }),
  stalls: (most) => ({ idle: most, keep: 4, repeats: 2 }),
  upstreams: 1000,
};

const QUICK = {
  cases: () => [
    { idle: 10, upstreams: 1, keep: 1 },
    { idle: 500, upstreams: 1, keep: 2 },
  ],
  memory: () => ({ few: 200, many: 1000 }),
  stalls: () => ({ idle: 1000, keep: 1, repeats: 1 }),
  upstreams: 100,
};

const EXPIRIES = [
  { expiry: 'after a burst', overdue: false },
  { expiry: 'all in one moment', overdue: true },
];

let now = 'starting';

benchmark('scale', async ({ nginx, moduleFile, directory, quick, file }) => {
  const size = quick ? QUICK : FULL;
  const { count: most, limit } = possible(WANTED);

  if (most < WANTED && !quick) {
    console.log(`${most} idle connections, not ${WANTED}: a process may have no more than ${limit} open files here`);
  }

  const setup = { nginx, moduleFile, directory };
  const progress = new Progress(() => `  ${now}`);

  const results = {
    machine: machine(),
    versions: versions(nginx, ['valgrind']),
    quick,
    instructions: await instructions(setup, size.cases(most)),
    memory: await memory(setup, size.memory(most)),
    stalls: await stalls(setup, size.stalls(most)),
    status: await status(setup, size.upstreams),
  };

  progress.stop();

  return present(results, report, file);
});

// Each of the cases, with stock nginx and with the module.
async function forBoth(cases, measure) {
  const results = [];

  for (const each of cases) {
    for (const withModule of [false, true]) {
      results.push({ ...each, withModule, ...await measure({ ...each, withModule }) });
    }
  }

  return results;
}

function instructions(setup, cases) {
  return forBoth(cases, async ({ idle, upstreams, keep, withModule }) => {
    now = `instructions, ${idle} idle connections, ${upstreams} upstreams, ${withModule ? 'module' : 'stock'}`;

    return countInstructions(await Scene.make(setup, { withModule, upstreams, keep, most: idle }), { idle, upstreams });
  });
}

function memory(setup, { few, many }) {
  const library = buildCounter(setup.directory);

  return forBoth([{ few, many }], async ({ withModule }) => {
    now = `memory of ${many} idle connections, ${withModule ? 'module' : 'stock'}`;

    return { bytes: await measureMemory(await Scene.make(setup, { withModule, keep: 3600, most: many }), library,
      { few, many }) };
  });
}

function stalls(setup, { idle, keep, repeats }) {
  return forBoth(EXPIRIES, async ({ expiry, overdue, withModule }) => {
    const found = [];

    for (let i = 1; i <= repeats; i++) {
      now = `stall, ${idle} expire ${expiry}, ${withModule ? 'module' : 'stock'}, ${i} of ${repeats}`;

      found.push(await measureExpiry(await Scene.make(setup, { withModule, keep, most: idle }), { idle, overdue }));
    }

    const all = (what) => spread(found.map((each) => each[what]));

    return { idle, longest: all('longest'), quiet: all('quiet') };
  });
}

async function status(setup, upstreams) {
  now = `status of ${upstreams} upstreams`;

  const scene = await Scene.make(setup, { withModule: true, upstreams, keep: 3600, most: upstreams });

  await scene.proxy.start();

  const client = await Client.connect(scene.proxy.port);

  await one(client, scene, upstreams);
  client.close();

  const results = [];

  for (const format of ['json', 'prometheus']) {
    results.push({ upstreams, ...await measureStatus(scene, format) });
  }

  await scene.stop();

  return results;
}
