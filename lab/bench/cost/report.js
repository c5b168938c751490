'use strict';

// The tables and the picture of the cost per request, its goals, and the limits that break a run.

const { goal } = require('../benchmark');
const { COLOURS, LABEL, stack } = require('../panels');
const { CONFIGURATIONS } = require('./configurations');

const percent = (ratio) => 100 * (ratio - 1);
const signed = (value, digits = 2) => `${value >= 0 ? '+' : ''}${value.toFixed(digits)}`;

const INSTRUCTIONS = [
  { head: 'request', text: ({ kind }) => kind },
  { head: 'nginx', text: ({ name }) => name },
  { head: 'instructions', text: ({ instructions }) => Math.round(instructions.median), right: true },
  { head: 'from', text: ({ instructions }) => Math.round(instructions.lowest), right: true },
  { head: 'to', text: ({ instructions }) => Math.round(instructions.highest), right: true },
  { head: 'more', text: ({ more }) => signed(more, 0), right: true },
  { head: '%', text: ({ more, percent }) => (more === 0 ? '' : signed(percent)), right: true },
];

const SYSCALLS = [
  { head: 'request', text: ({ kind }) => kind },
  { head: 'nginx', text: ({ name }) => name },
  { head: 'system calls', text: ({ syscalls }) => syscalls.total.toFixed(2), right: true },
  { head: 'added', text: ({ added }) => added.join(', ') || 'none' },
];

const THROUGHPUT = [
  { head: 'request', text: ({ kind }) => kind },
  { head: 'nginx', text: ({ name }) => name },
  { head: 'requests/s', text: ({ perSecond }) => Math.round(perSecond.median), right: true },
  { head: 'ratio', text: ({ ratio }) => ratio.median.toFixed(3), right: true },
  { head: 'half of them in', text: ({ ratio }) => `${ratio.low.toFixed(3)} to ${ratio.high.toFixed(3)}`, right: true },
  { head: 'CPU us/request', text: ({ microseconds }) => microseconds.median.toFixed(2), right: true },
  { head: 'ratio', text: ({ timeRatio }) => timeRatio.median.toFixed(3), right: true },
];

// In a layout of lab/harness/table.js.
const tables = ({ counts, throughput }, layout) => [
  layout(INSTRUCTIONS, counts),
  layout(SYSCALLS, counts),
  layout(THROUGHPUT, throughput),
];

const find = (results, kind, name) => results.find((result) => result.kind === kind && result.name === name);
const kinds = (results) => [...new Set(results.map(({ kind }) => kind))];

function goals({ counts, throughput }) {
  return kinds(counts).flatMap((kind) => {
    const defaults = find(counts, kind, 'defaults');
    const calls = (name) => Number((find(counts, kind, name).moreCalls).toFixed(1));

    return [
      goal(`${kind}, defaults: instructions more`, defaults.percent, { most: 1 }, ' %'),
      goal(`${kind}, defaults: requests/s of those of stock`, find(throughput, kind, 'defaults').ratio.median,
        { least: 0.99 }),
      goal(`${kind}, defaults: system calls more`, calls('defaults'), { most: 1 }),
      goal(`${kind}, unused: system calls more`, calls('unused'), { most: 0 }),
    ];
  });
}

// What no machine excuses: the counts are the same on all, but for the compiler.
const LIMITS = { unused: 0.5, defaults: 5 };

// with few runs, where malloc finds its places can come to a percent
const QUICK_LIMITS = { unused: 2, defaults: 7 };

function broken({ counts, quick }) {
  const limits = quick ? QUICK_LIMITS : LIMITS;

  const found = counts.flatMap(({ kind, name, percent, moreCalls }) => [
    percent > limits[name] && `${kind}, ${name}: ${percent.toFixed(2)} % more instructions, over ${limits[name]} %`,
    moreCalls >= (name === 'unused' ? 0.5 : 1.5) && `${kind}, ${name}: ${moreCalls.toFixed(2)} system calls more`,
  ]);

  return found.filter(Boolean).join('\n');
}

function picture({ counts, throughput, versions }) {
  const names = CONFIGURATIONS.map(({ name }) => name).filter((name) => name !== 'stock');
  const more = Math.max(1, ...counts.map(({ percent }) => percent));
  const of = (results, kind, value) => names.map((name) => {
    const result = find(results, kind, name);
    return result ? value(result) : '-';
  });
  const per = (series) => kinds(counts).map((kind, i) => ({ name: kind, color: COLOURS[i], ...series(kind, i) }));

  const panels = [
    {
      title: 'Instructions of the worker per request, more than stock nginx has',
      unit: '%',
      series: per((kind) => ({
        type: 'bar',
        data: of(counts, kind, (result) => Number(result.percent.toFixed(2))),
        label: { ...LABEL, formatter: ({ value }) => (value === '-' ? '' : `${signed(value)} %`) },
      })),
      line: 1,
      goal: 'goal: 1 %',
      max: 2 * Math.ceil(more * 0.6),
    },
    {
      title: 'System calls of the worker per request, more than stock nginx has',
      series: per((kind) => ({
        type: 'bar',
        data: of(counts, kind, (result) => Number(result.moreCalls.toFixed(1))),
        label: LABEL,
      })),
      line: 1,
      goal: 'goal: 1',
      max: 2,
    },
    {
      title: 'Requests per second, stock nginx = 1 (box: half of the rounds; line: all)',
      series: per((kind) => ({
        type: 'boxplot',
        boxWidth: [12, 30],
        itemStyle: { color: '#ffffff', borderColor: COLOURS[kinds(counts).indexOf(kind)], borderWidth: 2 },
        data: of(throughput, kind, ({ ratio }) =>
          [ratio.lowest, ratio.low, ratio.median, ratio.high, ratio.highest].map((value) => Number(value.toFixed(4)))),
      })),
      line: 0.99,
      goal: 'goal: 0.99',
      scale: true,
    },
  ];

  return stack(panels.map((panel) => ({ ...panel, names })), {
    text: 'Cost of the module per request on a busy cached connection',
    subtext: `nginx ${versions.nginx}; stock, module loaded but unused, with defaults, with everything on`,
  });
}

module.exports = { broken, goals, percent, picture, tables };
