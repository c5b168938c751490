'use strict';

// node cost.js <nginx> <module> <directory for downloads and builds> [quick]
//
// What the module costs per request: instructions, system calls and requests per second, beside stock nginx.

const { Progress } = require('../harness/progress');
const { benchmark, goalsTable, save, versions } = require('./benchmark');
const { draw } = require('./chart');
const { CONFIGURATIONS, LOGGING, Setup } = require('./cost/configurations');
const { countInstructions } = require('./cost/instructions');
const report = require('./cost/report');
const { REQUESTS } = require('./cost/requests');
const { added, countSyscalls } = require('./cost/syscalls');
const { measureThroughput, OTHERS } = require('./cost/throughput');
const { machine } = require('./machine');

const FULL = { segments: 5, instructions: 400, syscalls: 400, rounds: 15, seconds: 1 };
const QUICK = { segments: 3, instructions: 100, syscalls: 100, rounds: 2, seconds: 1 };

benchmark('cost', async ({ nginx, moduleFile, directory, quick, file }) => {
  const size = quick ? QUICK : FULL;
  const setup = new Setup({ nginx, moduleFile, directory });

  await setup.startBackend(OTHERS);

  const counts = [];
  const throughput = [];

  for (const request of REQUESTS) {
    console.log(`request "${request.kind}": ${request.what}`);

    counts.push(...await countAll(setup, CONFIGURATIONS, request, size));

    if (request.log !== 'off') {
      counts.push(...await countAll(setup, LOGGING, request, size));
    }
  }

  for (const request of REQUESTS) {
    throughput.push(...await compare(setup, request, size));
  }

  await setup.backend.stop();

  const results = {
    machine: machine(),
    versions: versions(nginx, ['valgrind', 'strace', 'wrk']),
    quick,
    size,
    counts,
    throughput,
  };

  results.goals = report.goals(results);

  console.log(`\n${[...report.tables(results), goalsTable(results.goals)].join('\n\n')}\n`);

  save(file('json'), results);
  await draw(file('svg'), report.picture(results), { width: 800, height: report.HEIGHT });

  return report.broken(results);
});

// The instructions and system calls of some configurations; each is compared with the first.
async function countAll(setup, configurations, request, size) {
  let now;
  const progress = new Progress(() => `  ${request.kind}: counting, ${now}`);
  const results = [];

  for (const configuration of configurations) {
    now = configuration.name;

    const instructions = await countInstructions(await setup.proxy(configuration, request), request,
      { segments: size.segments, requests: size.instructions });
    const syscalls = await countSyscalls(await setup.proxy(configuration, request), request,
      { requests: size.syscalls });

    const stock = results[0] ?? { instructions, syscalls };

    results.push({
      kind: request.kind,
      name: now,
      instructions,
      more: instructions.median - stock.instructions.median,
      percent: report.percent(instructions.median / stock.instructions.median),
      syscalls,
      moreCalls: syscalls.total - stock.syscalls.total,
      added: added(syscalls, stock.syscalls),
    });
  }

  progress.stop();

  return results;
}

async function compare(setup, request, { rounds, seconds }) {
  const proxies = [];

  for (const configuration of CONFIGURATIONS) {
    proxies.push(await setup.proxy(configuration, request));
  }

  const all = rounds * proxies.length;
  let over = 0;
  const progress = new Progress(() => `  ${request.kind}: wrk, ${over} of ${all} runs`);

  const results = await measureThroughput(proxies, request, { rounds, seconds, done: () => { over++; } });

  progress.stop();

  return results.map((result, i) => ({ kind: request.kind, name: CONFIGURATIONS[i].name, ...result }));
}
