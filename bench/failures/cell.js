'use strict';

// What came of one contender's requests of one class.

const BIN = 20;

class Cell {
  constructor(contender, kind, timeout) {
    Object.assign(this, { contender, kind, timeout });

    this.requests = 0;
    // those whose client had an answer to the request before, so that there was a connection to use again
    this.chances = 0;
    // of these, those that came to the backend before its time was over
    this.ideal = 0;
    this.reused = 0;
    this.failures = [];
    // failures that are none of a reuse
    this.strange = [];
    // by idle age: how many reuses were answered, and how many failed
    this.ages = new Map();
  }

  answered({ chance, reused, age }) {
    this.requests++;

    if (chance) {
      this.chances++;
      this.ideal += age < this.timeout ? 1 : 0;
    }

    if (reused) {
      this.reused++;
      this.at(age).answered++;
    }
  }

  // A client that had no answer before can't have failed for an old connection.
  failed(failure, chance) {
    this.requests++;

    if (chance) {
      this.chances++;
      this.failures.push(failure);
      this.at(failure.age).failed++;
    } else {
      this.strange.push(failure);
    }
  }

  at(age) {
    const bin = Math.floor(age / BIN) * BIN;

    if (!this.ages.has(bin)) {
      this.ages.set(bin, { answered: 0, failed: 0 });
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
      failures,
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
