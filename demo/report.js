'use strict';

// What the demo ends with: the table, and what it means.

const COLUMNS = [
  { head: 'scenario', text: (result) => result.scenario, align: 'padEnd' },
  { head: 'nginx', text: (result) => (result.withModule ? 'with module' : 'stock'), align: 'padEnd' },
  { head: 'requests', text: (result) => `${result.requests}`, align: 'padStart' },
  { head: 'reused', text: (result) => `${result.reused}`, align: 'padStart' },
  { head: '502s', text: (result) => `${result.bad}`, align: 'padStart' },
];

function table(results) {
  const columns = COLUMNS.map(({ head, text, align }) => {
    const cells = [head, ...results.map(text)];
    const width = Math.max(...cells.map((cell) => cell.length));

    return cells.map((cell) => cell[align](width));
  });

  const [head] = columns;

  return head.map((_, row) => columns.map((cells) => cells[row]).join('   ')).join('\n');
}

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
