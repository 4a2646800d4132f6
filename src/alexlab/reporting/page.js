"use strict";
// Everything here is an addition: without scripts the page has the same texts, tables and plots.
const make = (name, attributes = {}, text = "") => {
  const svg = ["svg", "path", "line", "text", "g", "rect"].includes(name);
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", name)
    : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text) element.textContent = text;
  return element;
};

for (const block of document.querySelectorAll("pre")) {
  const button = make("button", {type: "button"}, "Copy");
  button.onclick = async () => {
    const text = block.querySelector("code").textContent.trim();
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {  // a page that was opened from a file may not use the clipboard in some browsers
      getSelection().selectAllChildren(block.querySelector("code"));
      button.textContent = "Press Ctrl-C";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  };
  block.append(button);
}

const open = () => {
  let place = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let one = place; one; one = one.parentElement) if (one.tagName === "DETAILS") one.open = true;
  if (place) place.scrollIntoView();
};
addEventListener("hashchange", open);
open();

for (const table of document.querySelectorAll("table.filter")) {
  const input = make("input", {type: "search", placeholder: "filter", "aria-label": "filter"});
  input.oninput = () => {
    const words = input.value.toLowerCase().split(/\s+/);
    for (const row of table.tBodies[0].rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
  };
  table.parentElement.before(input);
}

const WIDTH = 340, HEIGHT = 210, LEFT = 42, RIGHT = 8, TOP = 20, BOTTOM = 22;
const shown = (value, percent) => percent ? (100 * value).toFixed(1) + "%"
  : value === 0 ? "0" : Math.abs(value) >= 1e4 || Math.abs(value) < 1e-3
    ? value.toExponential(1) : String(Number(value.toPrecision(3)));

const steps = (low, high) => {
  const rough = (high - low || 1) / 5, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((n) => n * power >= rough);
  const ticks = [];
  for (let tick = Math.ceil(low / step - 1e-9); tick * step <= high * (1 + 1e-9) + 1e-12; tick++)
    ticks.push(tick * step);
  return ticks;
};

const decades = (low, high) => {
  const ticks = [], first = Math.ceil(Math.log10(low)), last = Math.floor(Math.log10(high));
  const by = Math.max(1, Math.ceil((last - first + 1) / 5));
  for (let power = first; power <= last; power += by) ticks.push(10 ** power);
  return ticks.length > 1 ? ticks : steps(low, high).filter((tick) => tick > 0);
};

const chart = (image, data) => {
  const box = make("div", {class: "chart"}), keys = make("div", {class: "keys"});
  const panels = make("div", {class: "panels"}), read = make("p", {class: "read"});
  const hidden = new Set();
  let seeds = false, epoch = null;
  const lines = (panel) => panel.lines.filter((line) => !hidden.has(line.key));
  const toggle = (text, colour, checked, change) => {
    const label = make("label"), input = make("input", {type: "checkbox"});
    input.checked = checked;
    input.onchange = () => { change(input.checked); draw(); };
    label.append(input);
    if (colour) label.append(make("i", {style: `background:${colour}`}));
    label.append(text);
    keys.append(label);
  };
  data.keys.forEach((name, key) => toggle(name, data.colours[key], true,
    (on) => { if (on) hidden.delete(key); else hidden.add(key); }));
  if (data.panels.some((panel) => panel.lines.some((line) => line.seeds)))
    toggle("each seed", "", false, (on) => { seeds = on; });

  const plot = (panel) => {
    const row = data.panels.filter((one) => one.row === panel.row).flatMap(lines);
    let values = row.flatMap((line) => [...line.low, ...line.high]).filter(Number.isFinite);
    const log = panel.log && values.every((value) => value > 0) && values.length > 0;
    let low = Math.min(...values), high = Math.max(...values);
    if (!values.length) [low, high] = [0, 1];
    if (low === high) [low, high] = log ? [low / 2, high * 2] : [low - 0.5, high + 0.5];
    const last = Math.max(data.epochs.at(-1), 2), level = log ? Math.log10 : (value) => value;
    const x = (at) => LEFT + (at - 1) / (last - 1) * (WIDTH - LEFT - RIGHT);
    const y = (value) => HEIGHT - BOTTOM
      - (level(value) - level(low)) / (level(high) - level(low)) * (HEIGHT - TOP - BOTTOM);
    const svg = make("svg", {viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img",
      "aria-label": panel.title});
    svg.append(make("text", {x: LEFT, y: 12, class: "title"}, panel.title));
    for (const tick of log ? decades(low, high) : steps(low, high)) {
      svg.append(make("line", {x1: LEFT, x2: WIDTH - RIGHT, y1: y(tick), y2: y(tick),
        class: "grid"}));
      svg.append(make("text", {x: LEFT - 5, y: y(tick) + 4, "text-anchor": "end"},
        shown(tick, panel.percent).replace(".0%", "%")));
    }
    for (const tick of steps(1, last).filter(Number.isInteger))
      svg.append(make("text", {x: x(tick), y: HEIGHT - 6, "text-anchor": "middle"}, String(tick)));
    const path = (points) => {
      let text = "", pen = false;
      points.forEach((value, i) => {
        const there = Number.isFinite(value) && (!log || value > 0);
        if (there) text += `${pen ? "L" : "M"}${x(data.epochs[i]).toFixed(1)} ${y(value).toFixed(1)}`;
        pen = there;
      });
      return text;
    };
    for (const line of lines(panel)) {
      const colour = data.colours[line.key], dash = data.dashes[line.key];
      const style = {stroke: colour, fill: "none", "stroke-dasharray": dash};
      if (seeds && line.seeds) {
        for (const seed of line.seeds)
          svg.append(make("path", {...style, d: path(seed), "stroke-width": .7, opacity: .6}));
      } else {
        const there = line.low.map((value, i) => i).filter((i) => Number.isFinite(line.low[i])
          && (!log || line.low[i] > 0));
        const up = there.map((i) => `${x(data.epochs[i]).toFixed(1)} ${y(line.high[i]).toFixed(1)}`);
        const down = there.map((i) => `${x(data.epochs[i]).toFixed(1)} ${y(line.low[i]).toFixed(1)}`);
        if (there.length > 1) svg.append(make("path", {fill: colour, opacity: .16,
          d: `M${[...up, ...down.reverse()].join("L")}Z`}));
      }
      svg.append(make("path", {...style, d: path(line.mean), "stroke-width": 1.8}));
    }
    if (epoch !== null) svg.append(make("line", {x1: x(data.epochs[epoch]),
      x2: x(data.epochs[epoch]), y1: TOP, y2: HEIGHT - BOTTOM, class: "cursor"}));
    svg.onpointermove = svg.onpointerdown = (event) => {
      const frame = svg.getBoundingClientRect();
      const at = 1 + ((event.clientX - frame.left) / frame.width * WIDTH - LEFT)
        / (WIDTH - LEFT - RIGHT) * (last - 1);
      const near = data.epochs.map((one) => Math.abs(one - at));
      const nearest = near.indexOf(Math.min(...near));
      const values = lines(panel).filter((line) => Number.isFinite(line.mean[nearest]))
        .map((line) => `${data.keys[line.key]} ${shown(line.mean[nearest], panel.percent)}`);
      read.textContent = `${panel.title}, epoch ${data.epochs[nearest]}: ${values.join(", ")}`;
      if (nearest !== epoch) { epoch = nearest; draw(); }
    };
    return svg;
  };
  const draw = () => { panels.replaceChildren(...data.panels.map(plot)); };
  draw();
  read.textContent = "Point at a chart to read its values.";
  box.append(keys, panels, read);
  image.parentElement.before(box);
  image.hidden = true;
};

for (const block of document.querySelectorAll("script[type='application/json']")) {
  const image = document.getElementById(block.dataset.image);
  if (image) chart(image, JSON.parse(block.textContent));
}
