'use strict';

// The pictures of the results.

const { draw } = require('../chart');
const { BIN } = require('./cell');

const BLACK = '#222222';
const GREY = '#666666';
const LIGHT = '#e3e3e3';

const WIDTH = 800;
const LEFT = 62;
// of the right one of two panels
const MIDDLE = 447;
const HALF = 330;

// Where most have no failure at all, each kind has a lane of its own.
const LANES = {
  repeating: 0, nginx: -0.25, module: -0.5, haproxy: -0.75, apache: -0.97, caddy: -1.19, pingora: -1.41, end: -1.65,
};

// a triangle that stands on its tip
const DOWN = 'path://M0,0 L10,0 L5,9 Z';

const FAMILIES = [
  { title: 'nginx', name: 'nginx, by keepalive_timeout in ms', symbol: 'circle', color: BLACK, lane: LANES.nginx },
  {
    title: 'nginx with the module', name: 'nginx with the module, by margin in ms', symbol: 'diamond', color: '#0a8f3c',
    lane: LANES.module,
  },
  { title: 'HAProxy', name: 'HAProxy', symbol: 'triangle', color: '#1f6fb4', lane: LANES.haproxy },
  { title: 'Apache httpd', name: 'Apache httpd', symbol: 'rect', color: '#d1495b', lane: LANES.apache },
  { title: 'Caddy', name: 'Caddy', symbol: DOWN, color: '#8e44ad', lane: LANES.caddy },
  { title: 'Pingora', name: 'Pingora', symbol: 'roundRect', color: '#d98200', lane: LANES.pingora },
];

// What the picture says of a contender, and where; that can be another place in a panel, and a lane of its own.
const LABELS = {
  'keepalive_timeout 60s': { text: '60 s', position: 'right' },
  'keepalive_timeout 1s': { text: '1 s', position: 'left', blocked: 'bottom' },
  'keepalive_timeout 900ms': { text: '900', position: 'left', blocked: 'top', '50 ms': 'right' },
  'keepalive_timeout 750ms': { text: '750', position: 'left' },
  'keepalive_timeout 500ms': { text: '500', position: 'left' },
  'keepalive_timeout 60s, non_idempotent': { text: 'repeats POST', position: 'right', lane: LANES.repeating },
  'always, retry-on empty-response': { text: 'retry-on', position: 'right' },
  '1s margin=50ms': { text: '50', position: 'right' },
  '1s margin=100ms': { text: '100', position: 'left' },
  '1s margin=250ms': { text: '250', position: 'left' },
  // where that with 100 ms is
  'auto margin=100ms': { hidden: true },
};

const PANELS = [
  { name: 'quiet', title: 'Quiet worker', left: LEFT, top: 125 },
  { name: 'blocked', title: 'Worker blocked for 0.7 s, every 1.5 s (nginx)', left: MIDDLE, top: 125 },
  { name: '20 ms', title: '20 ms to the backend, one way', left: LEFT, top: 500 },
  { name: '50 ms', title: '50 ms to the backend, one way', left: MIDDLE, top: 500 },
].map((panel) => ({ ...panel, width: HALF, height: 290 }));

const COUNTS = [1, 10, 100];
const SHARES = [40, 60, 80, 100];

function drawFailures(file, results) {
  const names = FAMILIES.map(({ name }) => name);
  const marks = [LANES.haproxy, ...COUNTS.map(Math.log10).map((value) => value + 0.5)];

  draw(file, {
    title: [
      ...heading('Failed reuses of idle connections, over how many are reused',
        'POSTs to a backend that closes idle connections after 1 s. In the shaded band none failed; best is its right end.'),
      ...PANELS.map(subheading),
      source(results, 848),
    ],
    legend: legends(names, [12, 270, 580]),
    grid: PANELS.map(place),
    xAxis: PANELS.map((_, i) => ({
      ...axis(i, 'answered reuses, % of an oracle\'s'),
      min: 38,
      max: 122,
      axisLabel: { color: GREY, customValues: SHARES },
      axisTick: { customValues: SHARES },
    })),
    yAxis: PANELS.map(({ left }, i) => ({
      ...axis(i, left === LEFT ? 'failures per 1000 reuses' : ''),
      nameGap: 36,
      min: LANES.end,
      max: 3.25,
      axisLabel: { color: GREY, customValues: marks, formatter: (value) => (value < 0 ? '0' : 10 ** (value - 0.5)) },
      axisTick: { customValues: marks },
    })),
    series: PANELS.flatMap((panel, i) => [rules(i), ...FAMILIES.map((family) => points(family, panel, i, results))]),
  }, { width: WIDTH, height: 875 });
}

// What there is to a panel apart from its points: a line for each power of ten, and a band for no failures.
function rules(i) {
  return {
    type: 'line',
    ...onPanel(i),
    data: [],
    markLine: {
      silent: true,
      z: 1,
      symbol: 'none',
      label: { show: false },
      lineStyle: { color: LIGHT, type: 'solid', width: 1 },
      data: COUNTS.map((count) => ({ yAxis: position(count) })),
    },
    markArea: {
      silent: true,
      z: 0,
      itemStyle: { color: '#eef6ee' },
      data: [[{ yAxis: LANES.end }, { yAxis: 0.25 }]],
    },
  };
}

function points({ title, name, symbol, color, lane }, panel, i, { contenders }) {
  const shown = contenders.filter((one) =>
    one.title === title && !LABELS[one.setting]?.hidden && one.classes[panel.name]?.ofIdeal > 0);

  return {
    type: 'scatter',
    name,
    ...onPanel(i),
    symbol,
    symbolSize: 10,
    itemStyle: { color, opacity: 0.85 },
    data: shown.map(({ setting, classes: { [panel.name]: { ofIdeal, perThousand } } }) => ({
      value: [100 * ofIdeal, perThousand > 0 ? position(perThousand) : LABELS[setting]?.lane ?? lane],
      label: labelOf(LABELS[setting], panel),
    })),
    label: { color, fontSize: 11, distance: 4, textBorderColor: '#ffffff', textBorderWidth: 2 },
  };
}

const labelOf = (label, panel) =>
  (label ? { show: true, formatter: label.text, position: label[panel.name] ?? label.position } : { show: false });

// A logarithm, above the lanes of those that have none.
const position = (count) => Math.max(0.3, Math.log10(count) + 0.5);

const LINES = [
  { name: 'nginx, keepalive_timeout 60s', color: BLACK },
  { name: 'nginx, keepalive_timeout 900ms', color: '#1f6fb4' },
  { name: 'nginx, keepalive_timeout 500ms', color: '#d98200' },
  { name: 'nginx with the module, 1s margin=100ms', color: '#0a8f3c' },
];

const AGES = [
  {
    name: 'blocked', title: 'Worker blocked for 0.7 s, every 1.5 s', from: 0, to: 1600, step: 100, tick: 200,
    left: LEFT, top: 125, width: MIDDLE + HALF - LEFT,
  },
  {
    name: '20 ms', title: '20 ms to the backend, one way', from: 800, to: 1100, step: 20, tick: 100,
    left: LEFT, top: 395, width: HALF,
  },
  {
    name: '50 ms', title: '50 ms to the backend, one way', from: 800, to: 1100, step: 20, tick: 100,
    left: MIDDLE, top: 395, width: HALF,
  },
].map((panel) => ({ ...panel, height: 185 }));

function drawAges(file, results) {
  draw(file, {
    title: [
      ...heading('Failed requests, over the idle age of the connection',
        'The backend closes connections at 1000 ms. The age is that at which the proxy could send the request.'),
      ...AGES.map(subheading),
      source(results, 635),
    ],
    legend: legends(LINES.map(({ name }) => name), [12, 400], { icon: 'rect', itemHeight: 3 }),
    grid: AGES.map(place),
    xAxis: AGES.map(({ from, to, step, tick }, i) => ({
      ...axis(i, `idle age in ms, bins of ${step} ms`),
      min: from,
      max: to,
      interval: tick,
      axisLabel: { color: GREY, formatter: String },
    })),
    yAxis: AGES.map(({ left }, i) => ({
      ...axis(i, left === LEFT ? '% of requests failed' : ''),
      nameGap: 36,
      min: 0,
      max: 100,
      splitLine: { lineStyle: { color: LIGHT } },
    })),
    series: AGES.flatMap((panel, i) => LINES.map((line) => steps(line, panel, i, results))),
  }, { width: WIDTH, height: 660 });
}

function steps({ name, color }, panel, i, { contenders }) {
  const ages = contenders.find((one) => one.name === name)?.classes[panel.name]?.ages ?? {};
  const data = [];

  for (let from = panel.from; from < panel.to; from += panel.step) {
    data.push([from, failedShare(ages, from, from + panel.step)]);
  }

  // to the end of the last bin
  data.push([panel.to, data.at(-1)[1]]);

  return { type: 'line', name, ...onPanel(i), step: 'end', symbol: 'none', color, lineStyle: { width: 2.2 }, data };
}

// Of the requests of all ages in between, in percent; nothing where there was none.
function failedShare(ages, from, to) {
  const sums = [0, 0, 0];

  for (let age = from; age < to; age += BIN) {
    (ages[age] ?? []).forEach((count, i) => { sums[i] += count; });
  }

  const [reused, failed, fresh] = sums;
  const all = reused + failed + fresh;

  return all > 0 ? 100 * failed / all : null;
}

const onPanel = (i) => ({ xAxisIndex: i, yAxisIndex: i });

const place = ({ left, top, width, height }) => ({ left, top, width, height });

function axis(i, name) {
  return {
    type: 'value',
    gridIndex: i,
    name,
    nameLocation: 'middle',
    nameGap: 28,
    nameTextStyle: { color: BLACK },
    axisLabel: { color: GREY },
    axisLine: { show: true, onZero: false, lineStyle: { color: GREY } },
    axisTick: { show: true },
    splitLine: { show: false },
  };
}

// In columns: how wide a text is is not known before it is seen.
function legends(names, columns, style) {
  return names.map((name, i) => ({
    data: [name],
    left: columns[i % columns.length],
    top: 54 + 20 * Math.floor(i / columns.length),
    itemWidth: 16,
    itemHeight: 10,
    padding: 0,
    textStyle: { color: BLACK, fontSize: 12 },
    ...style,
  }));
}

const heading = (text, subtext) => [
  { text, left: 8, top: 4, padding: 4, textStyle: { fontSize: 17, color: BLACK } },
  { text: subtext, left: 8, top: 28, padding: 4, textStyle: { fontSize: 12, fontWeight: 'normal', color: GREY } },
];

const subheading = ({ title, left, top }) => ({
  text: title,
  left: left - 6,
  top: top - 24,
  padding: 4,
  textStyle: { fontSize: 13, color: BLACK },
});

const source = ({ machine: { date, cores, cpu, kernel }, versions }, top) => ({
  text: `make bench, ${date}: nginx ${versions.nginx}, ${cores} cores (${cpu}), ${kernel}`,
  left: 8,
  top,
  padding: 4,
  textStyle: { fontSize: 10, fontWeight: 'normal', color: GREY },
});

module.exports = { drawAges, drawFailures };
