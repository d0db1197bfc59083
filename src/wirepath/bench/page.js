"use strict";
// Draws the curves of the JSON in #data as SVG. Nothing is fetched.
const data = JSON.parse(document.getElementById("data").textContent);
const W = 940, H = 360, L = 70, R = 20, T = 34, B = 40;
const NS = "http://www.w3.org/2000/svg";

function el(name, attributes, parent, text) {
  const out = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) out.setAttribute(key, value);
  if (text !== undefined) out.textContent = text;
  parent.appendChild(out);
  return out;
}

function time(ns) {
  for (const [unit, size] of [["s", 1e9], ["ms", 1e6], ["µs", 1e3]])
    if (ns >= size) return `${+(ns / size).toPrecision(3)} ${unit}`;
  return `${Math.round(ns)} ns`;
}

const percent = (share) => `${+(share * 100).toFixed(6)} %`;
const log = Math.log10;
const lin = (v) => v;

// A scale from [lowest, highest], through `by`, onto [from, to] pixels.
function scale(lowest, highest, by, from, to) {
  const a = by(lowest), b = by(highest) === by(lowest) ? by(lowest) + 1 : by(highest);
  return (v) => from + (by(v) - a) / (b - a) * (to - from);
}

function chart(id, axes) {
  const figure = document.getElementById(id);
  figure.replaceChildren();
  const svg = el("svg", {viewBox: `0 0 ${W} ${H}`, role: "img", "data-chart": id}, figure);
  el("title", {}, svg, axes.title);
  for (const [value, label] of axes.xTicks) {
    const x = axes.x(value);
    el("line", {class: "grid", x1: x, x2: x, y1: T, y2: H - B}, svg);
    el("text", {x, y: H - B + 18, "text-anchor": "middle"}, svg, label);
  }
  for (const [value, label] of axes.yTicks) {
    const y = axes.y(value);
    el("line", {class: "grid", x1: L, x2: W - R, y1: y, y2: y}, svg);
    el("text", {x: L - 8, y: y + 4, "text-anchor": "end"}, svg, label);
  }
  data.sides.forEach((side, i) => {
    const x = L + i * 300;
    el("path", {class: side.side, d: `M${x} 14H${x + 30}`}, svg);
    el("text", {x: x + 38, y: 18}, svg, side.name);
  });
  return svg;
}

// A path through the points that have a value; a gap where they have none.
function line(svg, name, side, points, axes, kind = "") {
  let d = "", up = false, drawn = 0;
  for (const [x, y] of points) {
    if (y === null || !isFinite(axes.y(y)) || !isFinite(axes.x(x))) { up = false; continue; }
    d += `${up ? "L" : "M"}${axes.x(x).toFixed(2)} ${axes.y(y).toFixed(2)}`;
    up = true;
    drawn++;
  }
  if (drawn) el("path", {class: `${side} ${kind}`, d, "data-curve": name, "data-points": drawn}, svg);
}

function hover(svg, text) {
  const tip = el("text", {class: "tip", x: W - R, y: H - B - 8, "text-anchor": "end"}, svg, "");
  const cross = el("line", {class: "grid", y1: T, y2: H - B, visibility: "hidden"}, svg);
  svg.addEventListener("mousemove", (event) => {
    const box = svg.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width * W;
    const inside = x >= L && x <= W - R;
    cross.setAttribute("visibility", inside ? "visible" : "hidden");
    cross.setAttribute("x1", x);
    cross.setAttribute("x2", x);
    tip.textContent = inside ? text(x) : "";
  });
}

function powers(lowest, highest) {
  const out = [];
  for (let p = Math.ceil(log(lowest) - 1e-9); p <= log(highest) + 1e-9; p++) out.push(10 ** p);
  return out;
}

function bounds(kind) {
  const values = data.sides.flatMap((s) => s.curves[kind].map(([v]) => Math.max(v, 1)));
  if (!values.length) return null;
  return [10 ** Math.floor(log(Math.min(...values))), 10 ** Math.ceil(log(Math.max(...values)))];
}

function percentiles(kind, range) {
  const fewest = Math.min(...data.sides.flatMap((s) =>
    s.curves[kind].filter(([, share]) => share < 1).map(([, share]) => 1 - share)), 0.1);
  const last = fewest / 2;  // where the maximum is put, which has nothing above it
  const axes = {
    title: data.kinds[kind],
    x: scale(1, last, log, L, W - R),
    y: scale(...range, log, H - B, T),
    xTicks: [[0.5, "50 %"], ...powers(last, 0.1).reverse().map((p) => [p, percent(1 - p)])],
    yTicks: powers(...range).map((v) => [v, time(v)]),
  };
  const svg = chart("percentiles", axes);
  for (const {side, curves, marks} of data.sides) {
    const points = curves[kind].map(([v, share]) => [Math.max(1 - share, last), Math.max(v, 1)]);
    line(svg, `percentiles-${side}`, side, points, axes);
    for (const {figure, quantile, value} of marks[kind]) {
      const rest = quantile === 1 ? last : 1 - quantile;
      if (value === null || rest < last) continue;
      const dot = el("circle", {class: side, r: 3.5, cx: axes.x(rest).toFixed(2),
        cy: axes.y(Math.max(value, 1)).toFixed(2), "data-mark": figure, "data-side": side}, svg);
      el("title", {}, dot, `${figure}: ${time(value)}`);
    }
  }
  svg.dataset.lowest = range[0];
  svg.dataset.highest = range[1];
  svg.dataset.top = T;
  svg.dataset.bottom = H - B;
  hover(svg, (x) => {
    const rest = 10 ** ((x - L) / (W - R - L) * log(last));
    return `${percent(1 - rest)}: ` + data.sides.map(({name, curves}) => {
      const found = curves[kind].find(([, share]) => share >= 1 - rest);
      return `${name} ${found ? time(found[0]) : "–"}`;
    }).join(", ");
  });
}

function cdf(kind, range) {
  const axes = {
    title: data.kinds[kind],
    x: scale(...range, log, L, W - R),
    y: scale(0, 1, lin, H - B, T),
    xTicks: powers(...range).map((v) => [v, time(v)]),
    yTicks: [0, 0.25, 0.5, 0.75, 1].map((v) => [v, percent(v)]),
  };
  const svg = chart("cdf", axes);
  for (const {side, curves} of data.sides)
    line(svg, `cdf-${side}`, side, curves[kind].map(([v, s]) => [Math.max(v, 1), s]), axes);
  hover(svg, (x) => {
    const at = 10 ** (log(range[0]) + (x - L) / (W - R - L) * (log(range[1]) - log(range[0])));
    return `within ${time(at)}: ` + data.sides.map(({name, curves}) => {
      const below = curves[kind].filter(([v]) => v <= at);
      return `${name} ${percent(below.length ? below[below.length - 1][1] : 0)}`;
    }).join(", ");
  });
}

function steps(highest) {
  const step = 10 ** Math.floor(log(highest)) / (highest / 10 ** Math.floor(log(highest)) < 3 ? 2 : 1);
  const out = [];
  for (let v = 0; v <= highest * 1.0001; v += step) out.push(+v.toPrecision(6));
  return out;
}

function timelines() {
  const ends = data.sides.map((s) => s.repeat_seconds.reduce((sum, each) => sum + each, 0));
  const end = Math.max(...ends);
  const x = scale(0, end, lin, L, W - R);
  const xTicks = steps(end).map((v) => [v, `${v} s`]);
  const all = data.sides.flatMap(({timeline: t}) => [...t.p50, ...t.max]).filter((v) => v !== null);
  if (all.length) {
    const range = [10 ** Math.floor(log(Math.max(Math.min(...all), 1))),
      10 ** Math.ceil(log(Math.max(...all, 10)))];
    const axes = {title: "latency over time", x, xTicks, y: scale(...range, log, H - B, T),
      yTicks: powers(...range).map((v) => [v, time(v)])};
    const svg = chart("timeline", axes);
    for (const {side, timeline: t} of data.sides) {
      const floor = (v) => v === null ? null : Math.max(v, 1);
      line(svg, `max-${side}`, side, t.at.map((at, i) => [at, floor(t.max[i])]), axes, "thin");
      line(svg, `p50-${side}`, side, t.at.map((at, i) => [at, floor(t.p50[i])]), axes);
    }
  }
  const share = (t) => t.at.map((at, i) => [at, t.planned[i] ? t.received[i] / t.planned[i] : null]);
  const axes = {title: "share of planned packets that arrived", x, xTicks,
    y: scale(0, 1, lin, H - B, T), yTicks: [0, 0.5, 1].map((v) => [v, percent(v)])};
  const svg = chart("received", axes);
  for (const {side, timeline: t} of data.sides)
    line(svg, `received-${side}`, side, share(t), axes);
}

function show(kind) {
  const range = bounds(kind);
  for (const button of document.querySelectorAll("#kinds button"))
    button.setAttribute("aria-pressed", button.value === kind);
  if (!range) return;
  percentiles(kind, range);
  cdf(kind, range);
}

for (const [kind, label] of Object.entries(data.kinds)) {
  if (!bounds(kind)) continue;
  const button = document.createElement("button");
  button.value = kind;
  button.textContent = label;
  button.addEventListener("click", () => show(kind));
  document.getElementById("kinds").appendChild(button);
}
show("latency");
timelines();
document.body.dataset.drawn = "true";
