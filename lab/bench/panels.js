'use strict';

// Pictures of several panels, one below the other.

const COLOURS = ['#4477aa', '#ee7733'];
const GOAL_COLOUR = '#bb2222';

// the line of a goal may run behind it
const LABEL = { show: true, position: 'top', backgroundColor: '#ffffff', padding: [1, 3] };

const TOP = 130;
const PANEL = 146;
const GAP = 62;
const WIDTH = 800;

const top = (i) => TOP + i * (PANEL + GAP);

// A panel has a title, the names below it, its series, the unit of its axis, and a line for its goal if there is one.
// All have series of the same names.
function stack(panels, title) {
  return {
    size: { width: WIDTH, height: top(panels.length) - GAP + 40 },
    option: {
      title: { ...title, left: 'center', top: 8, textStyle: { fontSize: 17 } },
      legend: { top: 72, data: panels[0].series.map(({ name }) => name), icon: 'rect' },
      grid: panels.map((_, i) => ({ left: 70, right: 95, top: top(i), height: PANEL })),
      xAxis: panels.map(({ names }, i) => ({
        type: 'category', gridIndex: i, data: names, axisTick: { show: false }, axisLabel: { interval: 0 },
      })),
      yAxis: panels.map(({ unit = '', scale, max }, i) => ({
        type: 'value', gridIndex: i, scale, max, splitNumber: 4, boundaryGap: [0, '15%'],
        axisLabel: { formatter: `{value} ${unit}`.trim() },
      })),
      graphic: panels.map((panel, i) => ({
        type: 'text', left: 70, top: top(i) - 26, style: { text: panel.title, fontSize: 13, fontWeight: 'bold' },
      })),
      series: panels.flatMap(({ series, line, goal }, i) => series.map((one, j) => ({
        ...one,
        xAxisIndex: i,
        yAxisIndex: i,
        markLine: j === 0 && goal ? goalLine(line, goal) : undefined,
      }))),
    },
  };
}

function goalLine(value, text) {
  return {
    // behind bars and labels
    z: 1,
    symbol: 'none',
    silent: true,
    lineStyle: { color: GOAL_COLOUR, type: 'dashed', width: 1.5 },
    label: { formatter: text, color: GOAL_COLOUR },
    data: [{ yAxis: value }],
  };
}

module.exports = { COLOURS, LABEL, stack };
