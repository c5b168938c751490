'use strict';

// Tables of results. A column has a `head`, the `text` of a result in it, and is aligned to the `right` if it says so.

function aligned(columns, results) {
  return rows(columns, results).map((cells) => cells.join('   ').trimEnd()).join('\n');
}

function markdown(columns, results) {
  const [head, ...body] = rows(columns, results).map((cells) => `| ${cells.join(' | ')} |`);
  const rule = columns.map(({ right }) => (right ? '---:' : '---')).join(' | ');

  return [head, `| ${rule} |`, ...body].join('\n');
}

// Rows of cells as wide as their columns.
function rows(columns, results) {
  const padded = columns.map(({ head, text, right }) => {
    const cells = [head, ...results.map((result) => String(text(result)))];
    const width = Math.max(...cells.map((cell) => cell.length));

    return cells.map((cell) => (right ? cell.padStart(width) : cell.padEnd(width)));
  });

  return [0, ...results.map((_, i) => i + 1)].map((row) => padded.map((cells) => cells[row]));
}

module.exports = { aligned, markdown };
