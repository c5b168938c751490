'use strict';

// Tables, files and the verdict.

const fs = require('node:fs');
const path = require('node:path');

const { aligned, markdown } = require('../../harness/table');
const { machine } = require('../machine');
const { CLASSES } = require('./classes');
const { drawAges, drawFailures } = require('./pictures');

const TABLES = [
  ['Failures per 1000 reuses', ({ perThousand }) => fixed(perThousand, 1)],
  ['Reuses', ({ reuses }) => reuses],
  ['Reuses that were answered, as a share of those that an oracle makes', ({ ofIdeal }) => fixed(ofIdeal, 3)],
];

// Writes the results and says what they are; whether they are as they should be.
function report({ cells, quick, directory, ...run }) {
  const contenders = group(cells);
  const results = { machine: machine(), ...run, contenders };

  fs.mkdirSync(directory, { recursive: true });
  fs.writeFileSync(path.join(directory, 'failures.json'), `${json(results)}\n`);

  const tables = TABLES.map(([title, text]) => [title, columns(text)]);
  const page = tables.map(([title, list]) => `### ${title}\n\n${markdown(list, contenders)}\n`);

  fs.writeFileSync(path.join(directory, 'failures.md'), page.join('\n'));
  drawFailures(path.join(directory, 'failures.svg'), results);
  drawAges(path.join(directory, 'failure-age.svg'), results);

  tables.forEach(([title, list]) => console.log(`\n${title}\n\n${aligned(list, contenders)}`));
  conditions(run);
  console.log(`\nfigures and pictures: ${directory}\n`);

  return verdict(contenders, quick);
}

// The contenders with the figures of each class.
function group(cells) {
  const contenders = new Map();

  for (const cell of cells) {
    const { program: { title, withModule = false }, setting, kind } = cell;
    const key = `${title}, ${setting.text}`;

    if (!contenders.has(key)) {
      const { text, promise } = setting;

      contenders.set(key, { name: key, title, setting: text, withModule, promise, classes: {} });
    }

    contenders.get(key).classes[kind.name] = cell.figures();
  }

  return [...contenders.values()];
}

function columns(text) {
  const ofClass = ({ name }) => ({
    head: name,
    text: ({ classes }) => (classes[name] ? text(classes[name]) : ''),
    right: true,
  });

  return [{ head: 'contender', text: ({ name }) => name }, ...CLASSES.map(ofClass)];
}

// How well the machine has kept up.
function conditions({ skipped, lateness }) {
  console.log('\nLateness in ms');

  for (const [what, { p50, p99, max }] of Object.entries(lateness)) {
    console.log(`  ${what}: half of the times up to ${p50}, 99 % up to ${p99}, at most ${max}`);
  }

  Object.entries(skipped).forEach(([title, reason]) => console.log(`skipped: ${title}: ${reason}`));
}

function verdict(contenders, quick) {
  const cells = contenders.flatMap((contender) =>
    Object.entries(contender.classes).map(([kind, figures]) => ({ contender, kind, figures })));

  cells.flatMap(oddities).forEach((text) => console.log(text));

  // of its own nginx this has to know why each POST failed
  if (cells.some(({ contender, figures }) => contender.title.startsWith('nginx') && figures.strange.length > 0)) {
    return false;
  }

  // a short run shows that it runs
  if (quick) {
    console.log('A quick run is too short to judge by.');
    return true;
  }

  const broken = cells.flatMap(brokenPromises);

  console.log(broken.length > 0 ? broken.join('\n') : 'The module has kept its promises.');

  return broken.length === 0;
}

function oddities({ contender: { name }, kind, figures: { strange, deliveredTwice, failedAfterDelivery } }) {
  return [
    strange.length > 0 &&
      `${strange.length} POSTs failed, but not for an old connection, such as ${JSON.stringify(strange[0])}`,
    deliveredTwice > 0 && `${deliveredTwice} POSTs came to the backend twice`,
    failedAfterDelivery > 0 && `${failedAfterDelivery} POSTs failed although the backend had received them`,
  ].filter(Boolean).map((text) => `${name}, ${kind}: ${text}`);
}

function brokenPromises({ contender: { name, promise }, kind, figures }) {
  if (!promise?.classes.includes(kind)) {
    return [];
  }

  const { reuses = 1, share = 0 } = promise;

  return [
    figures.failed > 0 && `${figures.failed} of ${figures.reuses} reuses failed; it should be none`,
    figures.reuses < reuses && `${figures.reuses} reuses; ${reuses} are needed to say anything`,
    figures.ofIdeal < share && `it reuses ${fixed(figures.ofIdeal, 3)} of what an oracle does; it should be ${share}`,
  ].filter(Boolean).map((text) => `${name}, ${kind}: ${text}`);
}

// The ages of a cell on a line.
const json = (value) => JSON.stringify(value, null, 1).replace(/"ages": {[^}]*}/g, (ages) => ages.replace(/\s+/g, ' '));

const fixed = (value, digits) => (value === null ? '-' : value.toFixed(digits));

module.exports = { report };
