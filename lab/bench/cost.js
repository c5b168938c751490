'use strict';

// node cost.js <nginx> <module> <directory for downloads and builds> [quick]
//
// What the module costs per request: instructions, system calls and requests per second, beside stock nginx.

const { Progress } = require('../harness/progress');
const { benchmark, present, versions } = require('./benchmark');
const { CONFIGURATIONS, LOGGING, Setup } = require('./cost/configurations');
const { countInstructions } = require('./cost/instructions');
const report = require('./cost/report');
const { REQUESTS } = require('./cost/requests');
const { added, countSyscalls } = require('./cost/syscalls');
const { measureThroughput, OTHERS } = require('./cost/throughput');
const { machine } = require('./machine');

const FULL = { launches: 5, instructions: 200, syscalls: 400, rounds: 15 };
const QUICK = { launches: 2, instructions: 100, syscalls: 100, rounds: 2 };

// the others are much like `defaults`
const QUICK_NAMES = { counts: ['stock', 'unused', 'defaults'], throughput: ['stock', 'defaults'] };

// seconds
const TURN = 1;

benchmark('cost', async ({ nginx, moduleFile, directory, quick, file }) => {
  const size = quick ? QUICK : FULL;
  const setup = new Setup({ nginx, moduleFile, directory });

  await setup.startBackend(OTHERS);

  const some = (what) => CONFIGURATIONS.filter(({ name }) => !quick || QUICK_NAMES[what].includes(name));
  const counts = [];
  const throughput = [];

  for (const request of REQUESTS) {
    console.log(`request "${request.kind}": ${request.what}`);

    counts.push(...await countAll(setup, some('counts'), request, size));

    if (!quick && request.log !== 'off') {
      counts.push(...await countAll(setup, LOGGING, request, size));
    }
  }

  for (const request of REQUESTS) {
    throughput.push(...await compare(setup, some('throughput'), request, size.rounds));
  }

  await setup.backend.stop();

  return present({
    machine: machine(),
    versions: versions(nginx, ['valgrind', 'strace', 'wrk']),
    quick,
    size,
    counts,
    throughput,
  }, report, file);
});

// The instructions and system calls of some configurations; each is compared with the first.
async function countAll(setup, configurations, request, size) {
  let now;
  const progress = new Progress(() => `  ${request.kind}: counting, ${now}`);
  const results = [];

  for (const configuration of configurations) {
    now = configuration.name;

    const start = (padding) => setup.proxy(configuration, request, padding);
    const instructions = await countInstructions(start, request,
      { launches: size.launches, requests: size.instructions });
    const syscalls = await countSyscalls(await start(), request, { requests: size.syscalls });

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

async function compare(setup, configurations, request, rounds) {
  const proxies = [];

  for (const configuration of configurations) {
    proxies.push(await setup.proxy(configuration, request));
  }

  const all = rounds * proxies.length;
  let over = 0;
  const progress = new Progress(() => `  ${request.kind}: wrk, ${over} of ${all} runs`);

  const results = await measureThroughput(proxies, request, { rounds, seconds: TURN, done: () => { over++; } });

  progress.stop();

  return results.map((result, i) => ({ kind: request.kind, name: configurations[i].name, ...result }));
}
