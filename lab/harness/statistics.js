'use strict';

function median(values) {
  const sorted = sort(values);
  const middle = sorted.length >> 1;

  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

// The median, and how far the values are apart: all of them, and the half in the middle.
function spread(values) {
  const sorted = sort(values);
  const at = (part) => sorted[Math.round(part * (sorted.length - 1))];

  return { median: median(values), low: at(0.25), high: at(0.75), lowest: at(0), highest: at(1) };
}

function sort(values) {
  return [...values].sort((a, b) => a - b);
}

module.exports = { median, spread };
