'use strict';

// System calls per request in the worker, as strace sees them.

const fs = require('node:fs');

const { Client, get } = require('../../harness/client');

const WARM_UP = 20;

const FROM = '/from-here';
const TO = '/to-here';

// The calls between two requests that are known by their paths, each with how many there are per request.
async function countSyscalls(proxy, request, { requests }) {
  const trace = proxy.file('trace');

  // -D: nginx is the child of this process, and strace watches from aside
  await proxy.start(['strace', '-D', '-o', trace]);

  const client = await Client.connect(proxy.port);

  await client.repeat(request.text, WARM_UP);
  await client.request(get(FROM));
  await client.repeat(request.text, requests);
  await client.request(get(TO));

  client.close();
  await proxy.stop();

  const calls = between(fs.readFileSync(trace, 'utf8').split('\n'));
  // the one at the beginning is answered between the two as well
  const share = 1 / (requests + 1);
  const counts = {};

  for (const call of calls) {
    counts[call] = (counts[call] ?? 0) + share;
  }

  return { total: calls.length * share, calls: counts };
}

function between(lines) {
  const received = (path) => lines.findIndex((line) => line.includes(`recv`) && line.includes(`"GET ${path}`));
  const [from, to] = [received(FROM), received(TO)];

  if (from === -1 || to === -1) {
    throw new Error('the requests are not in what strace has written');
  }

  return lines.slice(from, to).map((line) => /^(\w+)\(/.exec(line)?.[1]).filter(Boolean);
}

// What one has more of than the other: "recvfrom +1".
function added(own, stock) {
  const names = [...new Set([...Object.keys(own.calls), ...Object.keys(stock.calls)])];

  return names
    .map((name) => ({ name, more: (own.calls[name] ?? 0) - (stock.calls[name] ?? 0) }))
    .filter(({ more }) => Math.abs(more) >= 0.05)
    .map(({ name, more }) => `${name} ${more > 0 ? '+' : ''}${Number(more.toFixed(2))}`);
}

module.exports = { added, countSyscalls };
