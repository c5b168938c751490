'use strict';

// What the benchmarks have in common: their arguments, where their results go, and how they end.

const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');

const { makeDirectory } = require('../harness/directory');
const { aligned, markdown } = require('../harness/table');
const { draw } = require('./chart');

// Runs a benchmark: `run` gets what it is run with, and returns an error message when a limit is broken.
function benchmark(name, run) {
  main(name, run, process.argv.slice(2)).then(
    (broken) => {
      if (broken) {
        console.error(`${name}: ${broken}`);
      }

      process.exit(broken ? 1 : 0);
    },
    (error) => {
      console.error(`${name}: ${error.message}`);
      process.exit(1);
    },
  );
}

async function main(name, run, [nginx, moduleFile, builds, mode]) {
  if (!nginx || !moduleFile || !builds || ![undefined, 'quick'].includes(mode)) {
    throw new Error(`usage: node ${name}.js <nginx> <module> <directory for downloads and builds> [quick]`);
  }

  [nginx, moduleFile].forEach((file) => fs.accessSync(file));
  fs.mkdirSync(builds, { recursive: true });

  const quick = mode === 'quick';
  const results = quick ? builds : path.join(__dirname, 'results');

  fs.mkdirSync(results, { recursive: true });

  return run({
    nginx,
    moduleFile,
    builds,
    quick,
    directory: makeDirectory(name, process.env.BENCH_LEAVE),
    file: (ending) => path.join(results, `${name}.${ending}`),
  });
}

// The versions of what a figure depends on; each tool is a command that tells its version.
function versions(nginx, tools) {
  const known = tools.map((tool) => [tool, version(tool, tool === 'wrk' ? '-v' : '--version')]);

  return Object.fromEntries([['nginx', version(nginx, '-v')], ...known]);
}

// wrk tells it with a status of 1, and nginx where errors go.
function version(file, option) {
  const { stdout, stderr } = spawnSync(file, [option], { encoding: 'utf8' });

  return /\d+(\.\d+)+/.exec(`${stdout}${stderr}`)?.[0];
}

// A goal, and whether a figure meets it.
function goal(what, value, { most, least }, unit = '') {
  const met = (most === undefined || value <= most) && (least === undefined || value >= least);
  const limit = most === undefined ? `at least ${least}` : `at most ${most}`;

  return { goal: `${what}: ${limit}${unit}`, value, met };
}

const GOALS = [
  { head: 'goal', text: (result) => result.goal },
  { head: 'measured', text: (result) => Number(result.value.toFixed(3)), right: true },
  { head: '', text: (result) => (result.met ? 'met' : 'MISSED') },
];

// Prints, keeps and draws results the way that their report has it, and returns what breaks a limit.
async function present(results, report, file) {
  const goals = report.goals(results);
  const { option, size } = report.picture(results);

  const tables = (layout) => [...report.tables(results, layout), layout(GOALS, goals)].join('\n\n');

  console.log(`\n${tables(aligned)}\n`);

  fs.writeFileSync(file('md'), `${tables(markdown)}\n`);
  fs.writeFileSync(file('json'), `${JSON.stringify({ ...results, goals }, undefined, 2)}\n`);
  await draw(file('svg'), option, size);

  return report.broken(results);
}

module.exports = { benchmark, goal, present, versions };
