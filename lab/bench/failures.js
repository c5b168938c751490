'use strict';

// node failures.js <nginx> <module> <directory for downloads and builds> [quick]
//
// How many reuses of an idle connection fail, and how many there are: with nginx, with the module, and with other
// proxies, all at the same time, in front of a backend that closes idle connections after a second. See README.md.
// BENCH_LEAVE=1 keeps the configurations and logs.

const fs = require('node:fs');
const path = require('node:path');
const { monitorEventLoopDelay } = require('node:perf_hooks');

const { makeDirectory } = require('../harness/directory');
const { Progress } = require('../harness/progress');
const { sleep } = require('../harness/wait');
const { version } = require('./contenders/nginx');
const { Backends } = require('./failures/backends');
const { Cell } = require('./failures/cell');
const { TIMEOUT } = require('./failures/classes');
const { Client } = require('./failures/client');
const { goFirst } = require('./failures/priority');
const { otherPrograms, ownPrograms } = require('./failures/programs');
const { report } = require('./failures/report');
const { Sample } = require('./failures/sample');

const SECONDS = 330;
const QUICK_SECONDS = 20;

// milliseconds
const STALL = 700;
const STALL_EVERY = 1500;

async function main([nginx, moduleFile, store, quick]) {
  if (!nginx || !moduleFile || !store) {
    throw new Error('usage: node failures.js <nginx> <module> <directory for downloads and builds> [quick]');
  }

  [nginx, moduleFile].forEach((file) => fs.accessSync(file));

  const directory = makeDirectory('bench', process.env.BENCH_LEAVE);

  // a server that root starts is another user, who has to find his way
  fs.chmodSync(directory, 0o755);

  const { programs: others, skipped } = await otherPrograms({ store: path.resolve(store), directory, quick });
  const programs = [...ownPrograms({ nginx, moduleFile, directory }), ...others];
  const seconds = quick ? QUICK_SECONDS : SECONDS;
  const { cells, lateness } = await run(programs, seconds);

  return report({
    cells,
    quick,
    directory: quick ? store : path.join(__dirname, 'results'),
    seconds,
    versions: Object.fromEntries([
      ['nginx', version(nginx)],
      ...others.map(({ title, server }) => [title, server.version]),
    ]),
    skipped,
    lateness,
  });
}

async function run(programs, seconds) {
  const backends = new Backends();

  await backends.start();

  const cells = programs.flatMap((program) => cellsOf(program, backends));

  nameUpstreams(cells);

  for (const program of programs) {
    await program.server.start({ upstreams: cells.filter((cell) => cell.program === program).flatMap(upstreams) });
  }

  // not before: what is started takes after its parent
  goFirst();

  const lag = await load(programs, cells, seconds);
  const { clients, lateness } = await backends.ask();

  for (const { server } of programs) {
    await server.stop();
  }

  await backends.stop();
  conclude(cells, clients);

  return { cells, lateness: { 'event loop of the clients': lag, ...lateness } };
}

function cellsOf(program, backends) {
  return program.classes.flatMap((kind) => program.settings.map((setting) =>
    Object.assign(new Cell(kind, TIMEOUT), { program, setting, address: backends.address(kind) })));
}

// Every client has an upstream of its own.
function nameUpstreams(cells) {
  let count = 0;

  for (const cell of cells) {
    cell.names = Array.from({ length: cell.program.clients }, () => `u${++count}`);
  }
}

const upstreams = ({ names, address, setting }) => names.map((name) => ({ name, address, setting }));

// Returns how late timers were here.
async function load(programs, cells, seconds) {
  const clients = cells.flatMap((cell) => cell.names.map((name) => new Client(name, cell, cell.program.server.port)));
  const blocked = programs.filter((program) => program.blocked);

  console.log(`\n${clients.length} clients send POSTs for ${seconds} seconds`);

  const begin = performance.now();
  const end = begin + 1000 * seconds;
  const text = () => `  ${Math.round((performance.now() - begin) / 1000)} s, ${counts(cells)}`;
  const progress = new Progress(text, seconds / 10);
  const lag = monitorEventLoopDelay();

  lag.enable();

  try {
    const work = Promise.all([
      ...clients.map((client) => client.run(end)),
      ...blocked.map(({ server }) => blockNowAndThen(server, end)),
    ]);

    await Promise.race([work, ...programs.map(({ server }) => server.ended)]);
  } finally {
    lag.disable();
    progress.stop();
  }

  return Sample.ofLag(lag);
}

function counts(cells) {
  const sum = (count) => cells.reduce((total, cell) => total + count(cell), 0);

  return `${sum(({ requests }) => requests)} POSTs, ${sum(({ failures }) => failures.length)} failed`;
}

async function blockNowAndThen(server, end) {
  while (performance.now() + STALL_EVERY < end) {
    await sleep(STALL_EVERY - STALL);
    await server.block(STALL);
  }
}

// What is known in the end only: how often the backend had each POST, and what nginx says of its failures.
function conclude(cells, clients) {
  for (const cell of cells) {
    const sum = (key) => cell.names.reduce((total, name) => total + (clients[name]?.[key] ?? 0), 0);

    cell.received = sum('received');
    cell.twice = sum('twice');

    const stale = cell.program.stale ??= cell.program.server.staleReuses?.();

    if (stale) {
      cell.moveStrange((failure) => !stale.has(failure.path));
    }
  }
}

main(process.argv.slice(2)).then(
  (good) => process.exit(good ? 0 : 1),
  (error) => {
    console.error(`failures: ${error.message}`);
    process.exit(1);
  },
);
