'use strict';

// The table, and what it means.

const fs = require('node:fs');

const { aligned, markdown } = require('../../harness/table');

const COLUMNS = [
  { head: 'backend', text: ({ title }) => title },
  { head: 'version', text: ({ version }) => version },
  { head: 'timeout', text: ({ timeout }) => (timeout ? seconds(timeout) : 'none'), right: true },
  { head: 'closes at', text: closesAt, right: true },
  { head: 'hint', text: ({ hint }) => hint },
  { head: 'stock: reuses', text: ({ stock }) => stock.reused, right: true },
  { head: '502s', text: ({ stock }) => stock.bad, right: true },
  { head: 'module: reuses', text: (result) => result.module.reused, right: true },
  { head: '502s', text: (result) => result.module.bad, right: true },
];

// Ages that are further apart are all told, not only their median.
const ALIKE = 100;

// Prints the results and writes those that there are as Markdown; whether they are as they should be.
function report(results, file) {
  const done = results.filter((result) => result.module);
  const without = (kind) => results.filter((result) => result[kind]);

  console.log(`\n${aligned(COLUMNS, done)}\n`);
  fs.writeFileSync(file, `${markdown(COLUMNS, done)}\n`);
  console.log(`as Markdown: ${file}`);

  for (const kind of ['skipped', 'failed']) {
    for (const result of without(kind)) {
      console.log(`${kind}: ${result.title}: ${result[kind].split('\n')[0]}`);
    }
  }

  const bad = done.filter((result) => result.module.bad > 0);
  const idle = done.filter((result) => result.module.reused === 0);

  bad.forEach(({ title }) => console.log(`${title}: 502s with the module; there should be none`));
  idle.forEach(({ title }) => console.log(`${title}: with the module, no connection was reused at all`));

  console.log(`${done.length} measured, ${without('failed').length} failed, ${without('skipped').length} skipped`);

  return [bad, idle, without('failed')].every((list) => list.length === 0);
}

function closesAt({ ages, median }) {
  const [first, last] = [ages.at(0), ages.at(-1)];

  if (last === Infinity) {
    return 'never';
  }

  return last - first > ALIKE ? `${seconds(first)} to ${seconds(last)}` : seconds(median);
}

function seconds(milliseconds) {
  return `${Number((milliseconds / 1000).toFixed(2))} s`;
}

module.exports = { report };
