'use strict';

// How late things were, in milliseconds.

const RESOLUTION = 10;

class Sample {
  constructor() {
    this.values = [];
  }

  add(value) {
    this.values.push(value);
  }

  summary() {
    const sorted = this.values.sort((a, b) => a - b);
    const at = (share) => rounded(sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0);

    return { p50: at(0.5), p99: at(0.99), max: at(1) };
  }

  // Of a histogram of monitorEventLoopDelay(), which has the time between two looks in it.
  static ofLag(histogram) {
    const late = (nanoseconds) => Math.max(0, rounded(nanoseconds / 1e6 - RESOLUTION));

    return { p50: late(histogram.percentile(50)), p99: late(histogram.percentile(99)), max: late(histogram.max) };
  }
}

const rounded = (value) => Number(value.toFixed(2));

module.exports = { Sample };
