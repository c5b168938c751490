'use strict';

// What came of one contender's requests of one class.

const BIN = 20;
const [REUSED, FAILED, FRESH] = [0, 1, 2];
// so many are told with all that is known
const TOLD = 10;

class Cell {
  constructor(kind, timeout) {
    Object.assign(this, { kind, timeout });

    this.requests = 0;
    // those whose client had an answer to the request before, so that there was a connection to use again
    this.chances = 0;
    // of these, those that an oracle sends on the old connection: they come to the backend before its time is over, or
    // before it has looked at its clock
    this.ideal = 0;
    this.reused = 0;
    this.failures = [];
    // failures that are none of a reuse
    this.strange = [];
    // by idle age: how many were answered on the old connection, failed on it, and were answered on another
    this.ages = new Map();
  }

  answered({ chance, reused, age }) {
    this.requests++;

    if (chance) {
      this.chances++;
      this.ideal += age < this.timeout || reused ? 1 : 0;
      this.reused += reused ? 1 : 0;
      this.at(age)[reused ? REUSED : FRESH]++;
    }
  }

  // A client that had no answer before can't have failed for an old connection.
  failed(failure, chance) {
    this.requests++;

    if (chance) {
      this.chances++;
      this.failures.push(failure);
      this.at(failure.age)[FAILED]++;
    } else {
      this.strange.push(failure);
    }
  }

  // Failures that are found to have another reason.
  moveStrange(isStrange) {
    this.strange.push(...this.failures.filter(isStrange));
    this.failures = this.failures.filter((failure) => !isStrange(failure));
  }

  // The backend's clock is ahead by the way of the answer before, and goes on while the request is on its way.
  at(age) {
    const bin = Math.floor((age - 2 * (this.kind.latency ?? 0)) / BIN) * BIN;

    if (!this.ages.has(bin)) {
      this.ages.set(bin, [0, 0, 0]);
    }

    return this.ages.get(bin);
  }

  get reuses() {
    return this.reused + this.failures.length;
  }

  figures() {
    const { requests, chances, ideal, reused, reuses, failures, strange, received, twice } = this;

    return {
      requests,
      chances,
      ideal,
      reuses,
      failed: failures.length,
      perThousand: reuses > 0 ? 1000 * failures.length / reuses : null,
      reuseShare: chances > 0 ? reused / chances : null,
      idealShare: chances > 0 ? ideal / chances : null,
      ofIdeal: ideal > 0 ? reused / ideal : null,
      // POSTs that failed although the backend had them, and that it had more than once
      failedAfterDelivery: received - twice - (requests - failures.length - strange.length),
      deliveredTwice: twice,
      how: countBy(failures, ({ how }) => how),
      ages: Object.fromEntries([...this.ages].sort(([a], [b]) => a - b)),
      failures: failures.slice(0, TOLD),
      strange,
    };
  }
}

function countBy(list, key) {
  const counts = {};

  list.forEach((one) => { counts[key(one)] = (counts[key(one)] ?? 0) + 1; });

  return counts;
}

module.exports = { BIN, Cell };
