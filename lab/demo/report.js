'use strict';

// What the demo ends with: the table, and what it means.

const { aligned } = require('../harness/table');

const COLUMNS = [
  { head: 'scenario', text: (result) => result.scenario },
  { head: 'nginx', text: (result) => (result.withModule ? 'with module' : 'stock') },
  { head: 'requests', text: (result) => result.requests, right: true },
  { head: 'reused', text: (result) => result.reused, right: true },
  { head: '502s', text: (result) => result.bad, right: true },
];

const table = (results) => aligned(COLUMNS, results);

// What the results mean, as a sentence; an error if they do not mean that.
function verdict(results) {
  const stock = sums(results.filter(({ withModule }) => !withModule));
  const own = sums(results.filter(({ withModule }) => withModule));

  if (own.bad > 0) {
    throw new Error(`with the module, ${own.bad} of ${own.reused} reuses were answered 502; it should be none`);
  }

  if (own.reused === 0) {
    throw new Error('with the module, no connection was reused at all');
  }

  if (stock.bad === 0) {
    throw new Error('stock nginx answered nothing with 502 this time, so the demo has shown nothing');
  }

  return 'The backend was up all the time, yet ' +
    `stock nginx answered ${stock.bad} of ${stock.reused} reuses with 502;\n` +
    `with the module it was none of ${own.reused}.`;
}

function sums(results) {
  const sum = (name) => results.reduce((total, result) => total + result[name], 0);

  return { bad: sum('bad'), reused: sum('reused') };
}

module.exports = { table, verdict };
