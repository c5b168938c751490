'use strict';

// Requests per second under wrk, and the processor's time that the worker takes for one.

const fs = require('node:fs');
const os = require('node:os');

const { startProgram } = require('../../harness/processes');
const { spread } = require('../../harness/statistics');
const { within } = require('../../harness/wait');

const CONNECTIONS = 32;
const END_WITHIN = 15_000;

// The worker has a processor to itself, and is what there is to wait for: else its share would be of a sum.
const onProcessor = (n) => (os.cpus().length > 1 ? ['taskset', '-c', String(n)] : []);

const WORKER = onProcessor(0);
const OTHERS = onProcessor(1);

// All take turns, forth and back, so that what changes on the machine changes for all. Each is compared with the first
// within a round.
async function measureThroughput(proxies, request, { rounds, seconds, done }) {
  for (const proxy of proxies) {
    await proxy.start(WORKER);
  }

  const turns = [];

  for (let i = 0; i < rounds; i++) {
    const round = [];

    for (const j of order(proxies.length, i)) {
      round[j] = await wrk(proxies[j], request, seconds);
      done();
    }

    turns.push(round);
  }

  for (const proxy of proxies) {
    await proxy.stop();
  }

  return proxies.map((_, j) => ({
    perSecond: spread(turns.map((round) => round[j].perSecond)),
    microseconds: spread(turns.map((round) => round[j].microseconds)),
    ratio: spread(turns.map((round) => round[j].perSecond / round[0].perSecond)),
    timeRatio: spread(turns.map((round) => round[j].microseconds / round[0].microseconds)),
  }));
}

function order(count, round) {
  const forth = Array.from({ length: count }, (_, i) => i);

  return round % 2 === 0 ? forth : forth.reverse();
}

async function wrk(proxy, request, seconds) {
  const headers = request.headers.flatMap((header) => ['-H', header]);
  const url = `http://127.0.0.1:${proxy.port}${request.path}`;
  const before = processorTime(proxy.process.pid);

  const [file, ...args] = [
    ...OTHERS, 'wrk', '-t', '1', '-c', String(CONNECTIONS), '-d', `${seconds}s`, ...headers, url,
  ];
  const child = startProgram(file, args);

  await within(Promise.race([child.ended, proxy.ended]), seconds * 1000 + END_WITHIN, 'wrk to end');

  const time = processorTime(proxy.process.pid) - before;
  const requests = Number(/(\d+) requests in /.exec(child.output)?.[1]);
  const perSecond = Number(/Requests\/sec:\s+([\d.]+)/.exec(child.output)?.[1]);

  if (!(requests > 0 && perSecond > 0) || /Non-2xx|Socket errors/.test(child.output)) {
    throw new Error(`wrk: ${child.output}`);
  }

  return { perSecond, microseconds: time / 1000 / requests };
}

// Nanoseconds that a process was running, in itself and in the kernel.
function processorTime(pid) {
  return Number(fs.readFileSync(`/proc/${pid}/schedstat`, 'utf8').split(' ', 1)[0]);
}

module.exports = { measureThroughput, OTHERS };
