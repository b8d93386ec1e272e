// Plots as SVG. Each is drawn for the width at hand, and every point opens its study.

class Plots {
  constructor({ onOpen }) {
    this.onOpen = onOpen;
    this.numbers = new Map(DATA.studies.map((study, number) => [study.id, number]));
    this.current = null;
    this.label = DATA.classes[0] ?? "";
    this.drawn = [];
    this.select = el("select", { "aria-label": "label of the plots of volumes", onchange: () => this.choose(this.select.value) },
      ...DATA.classes.map((name) => el("option", { value: name, text: name })));
    this.boxes = el("div", { class: "plots" });
    this.scatters = el("div", { class: "plots" });
    this.add(this.boxes, "Dice by label", (width) => this.boxPlot(width, "dice", "Dice", { low: 0, high: 1 }), this.has("dice"));
    this.add(this.boxes, "95th percentile of surface distances by label", (width) => this.boxPlot(width, "hd95_mm", "HD95 in mm", { low: 0 }), this.has("hd95_mm"));
    this.add(this.scatters, "Volume", (width) => this.volumes(width), ROWS.length);
    this.add(this.scatters, "Bland-Altman", (width) => this.blandAltman(width), ROWS.length);
    this.add(this.scatters, "Dice and size", (width) => this.sizes(width), ROWS.length);
  }

  has(key) {
    return ROWS.some((row) => typeof row[key] === "number");
  }

  add(parent, title, draw, wanted) {
    if (!wanted) return;
    const inner = el("div", { class: "inner" });
    const note = el("p", { class: "note" });
    const heading = el("h3", { text: title });
    const root = el("div", { class: "plot" }, heading, inner, note);
    parent.append(root);
    let width = 0;
    const redraw = () => {
      if (!width) return;
      const plot = draw(width);
      inner.replaceChildren(plot.picture);
      note.textContent = plot.note ?? "";
      if (plot.title) heading.textContent = plot.title;
      this.mark(this.current);
    };
    this.drawn.push(redraw);
    new ResizeObserver(() => {
      const now = Math.floor(inner.clientWidth);
      if (Math.abs(now - width) < 2) return; // a scroll bar that comes must not make it go
      width = now;
      redraw();
    }).observe(root);
  }

  choose(label) {
    this.label = this.select.value = label;
    this.drawn.forEach((redraw) => redraw());
  }

  mark(studyId) {
    this.current = studyId;
    for (const parent of [this.boxes, this.scatters]) {
      for (const point of parent.querySelectorAll(".point")) point.classList.toggle("current", point.dataset.study === studyId);
    }
  }

  point(row, x, y, text, properties = {}) {
    const number = this.numbers.get(row.study_id);
    const colour = COLOUR(row.index);
    return svg("circle", { class: "point", cx: x, cy: y, r: 4, fill: colour, "data-study": row.study_id,
      onclick: () => number !== undefined && this.onOpen(number, row.index), ...properties }, svg("title", { text: `${row.study_id}: ${text}` }));
  }

  /** A row a label: box from the first to the third quartile, line at the median, whiskers to the last study within 1.5 boxes. */
  boxPlot(width, key, name, { low, high }) {
    const groups = DATA.labels.map((summary) => ({
      label: summary.label, spread: summary.spreads[key], rows: ROWS.filter((row) => row.label === summary.label && typeof row[key] === "number"),
    }));
    const values = groups.flatMap((group) => group.rows.map((row) => row[key]));
    const end = high ?? (Math.max(...values) * 1.04 || 1);
    const start = high === 1 ? Math.min(0.9, Math.floor(Math.min(...values) * 10) / 10) : low;
    const room = Math.min(170, 24 + 7 * Math.max(...groups.map((group) => group.label.length)));
    const each = groups.length > 24 ? 22 : groups.length > 6 ? 32 : 52;
    const height = groups.length * each + 36;
    const x = linear(start, end, room, width - 14);
    const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": `${name} by label` });
    xAxis(picture, x, start, end, height - 28, name, room, width - 14);
    groups.forEach(({ label, spread, rows }, place) => {
      const y = 6 + each * (place + 0.5);
      const index = DATA.classes.indexOf(label) + 1;
      const cut = Math.floor(room / 7) - 2;
      picture.append(svg("text", { class: "label", x: room - 12, y: y + 4, "text-anchor": "end", text: label.length > cut ? `${label.slice(0, cut - 1)}…` : label }, svg("title", { text: label })));
      if (!rows.length) return picture.append(svg("text", { x: room + 4, y: y + 4, text: "undefined in every study" }));
      drawBox(picture, spread, rows.map((row) => row[key]), x, y, each, COLOUR(index));
      rows.forEach((row, order) => {
        const jitter = (((order * 7919) % 13) / 12 - 0.5) * each * 0.5; // the same at every drawing
        picture.append(this.point(row, x(row[key]), y + jitter, `${label}, ${name} ${num(row[key])}`, { r: each < 30 ? 2.6 : 3.6 }));
      });
      return undefined;
    });
    const missing = ROWS.length - values.length;
    const what = "Box: quartiles and median; diamond: mean with its 95 % interval.";
    return { picture, note: missing ? `${what} Undefined, and not shown: ${missing} of ${ROWS.length}.` : what };
  }

  ofLabel() {
    return ROWS.filter((row) => row.label === this.label);
  }

  volumes(width) {
    const rows = this.ofLabel().filter((row) => row.empty !== "both");
    const [least, most] = padded(rows.flatMap((row) => [row.reference_ml, row.segmentation_ml]));
    const { picture, x, y } = frame(width, [least, most], [least, most], "reference in ml", "segmentation in ml");
    picture.append(svg("line", { x1: x(least), y1: y(least), x2: x(most), y2: y(most), class: "axis", "stroke-dasharray": "4 4" }));
    for (const row of rows) picture.append(this.point(row, x(row.reference_ml), y(row.segmentation_ml), `${amount(row.reference_ml)} ml, segmented ${amount(row.segmentation_ml)} ml`));
    return { picture, title: `Volume: ${this.label}`, note: left(this.ofLabel().length - rows.length, "without the label on either side") };
  }

  blandAltman(width) {
    const rows = this.ofLabel().filter((row) => row.empty !== "both").map((row) => ({ ...row, mean: (row.reference_ml + row.segmentation_ml) / 2, difference: row.segmentation_ml - row.reference_ml }));
    const n = rows.length;
    const bias = rows.reduce((sum, row) => sum + row.difference, 0) / (n || 1);
    const sd = n > 1 ? Math.sqrt(rows.reduce((sum, row) => sum + (row.difference - bias) ** 2, 0) / (n - 1)) : null;
    const limits = sd === null ? [] : [bias - 1.96 * sd, bias + 1.96 * sd];
    const all = [...rows.map((row) => row.difference), ...limits, 0];
    const pad = (Math.max(...all) - Math.min(...all)) * 0.08 || 1;
    const [least, most] = padded(rows.map((row) => row.mean));
    const { picture, x, y } = frame(width, [least, most], [Math.min(...all) - pad, Math.max(...all) + pad], "mean of both in ml", "segmentation − reference in ml");
    picture.append(svg("line", { x1: x(least), y1: y(0), x2: x(most), y2: y(0), class: "axis" }));
    const line = (value, text, dashes) => picture.append(
      svg("line", { x1: x(least), y1: y(value), x2: x(most), y2: y(value), stroke: "#8ab4ff", "stroke-dasharray": dashes }),
      svg("text", { x: x(most) - 2, y: y(value) - 4, "text-anchor": "end", text: `${text} ${signed(value)}` }));
    if (n) line(bias, "mean", null);
    limits.forEach((value, side) => line(value, side ? "+1.96 sd" : "−1.96 sd", "5 4"));
    for (const row of rows) picture.append(this.point(row, x(row.mean), y(row.difference), `${signed(row.difference)} ml of ${amount(row.reference_ml)} ml`));
    const note = n > 1 ? `Mean difference ${signed(bias)} ml, limits of agreement ${signed(limits[0])} to ${signed(limits[1])} ml, ${n} studies.` : "Limits of agreement need two studies.";
    return { picture, title: `Bland-Altman: ${this.label}`, note };
  }

  /** By lesion where lesions were matched, else by study. */
  sizes(width) {
    const lesions = DATA.lesions.filter((lesion) => lesion.label === this.label && lesion.side === "reference");
    const rows = lesions.length
      ? lesions.map((lesion) => ({ ...lesion, index: DATA.classes.indexOf(lesion.label) + 1, size: lesion.longest_diameter_mm, missed: !lesion.partner }))
      : this.ofLabel().filter((row) => typeof row.dice === "number" && row.reference_ml > 0).map((row) => ({ ...row, size: row.reference_ml, missed: false }));
    const unit = lesions.length ? "mm" : "ml";
    const name = lesions.length ? "longest diameter of the lesion in mm" : "volume in the reference in ml";
    const shown = rows.filter((row) => row.size > 0);
    const sizes = shown.map((row) => row.size);
    const lowest = Math.min(0.9, ...shown.map((row) => Math.floor(row.dice * 10) / 10));
    const range = sizes.length ? [Math.min(...sizes) / 1.15, Math.max(...sizes) * 1.15] : [1, 10];
    const { picture, x, y } = frame(width, range, [lowest - 0.03 * (1 - lowest), 1 + 0.03 * (1 - lowest)], name, "Dice", { log: true });
    for (const row of shown) {
      const text = `${amount(row.size)} ${unit}, ${row.missed ? "missed" : `Dice ${num(row.dice)}`}`;
      picture.append(this.point(row, x(row.size), y(row.dice), text, row.missed ? { fill: "none", style: { stroke: DATA.tints.missed, strokeWidth: "2px" } } : {}));
    }
    const missed = shown.filter((row) => row.missed).length;
    const note = lesions.length ? `${lesions.length} lesions of the reference, ${missed} missed (red rings).` : left(this.ofLabel().length - shown.length, "that the reference lacks it in");
    return { picture, title: `Dice and size: ${this.label}`, note };
  }
}

/** The ends of an axis of volumes: from 0 where values come near it. */
function padded(values) {
  if (!values.length) return [0, 1];
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const pad = Math.max((most - least) * 0.08, most * 0.04) || 1;
  return [least < 0.4 * most ? 0 : Math.max(0, least - pad), most + pad];
}

function left(count, why) {
  return count ? `Not shown: ${count} ${count === 1 ? "study" : "studies"} ${why}.` : "";
}

function drawBox(picture, spread, values, x, y, each, colour) {
  const half = Math.min(11, each * 0.32);
  const reach = 1.5 * (spread.q3 - spread.q1);
  const inside = values.filter((value) => value >= spread.q1 - reach && value <= spread.q3 + reach);
  const [first, last] = [Math.min(...inside, spread.q1), Math.max(...inside, spread.q3)];
  const line = (x1, y1, x2, y2, more = {}) => svg("line", { x1, y1, x2, y2, stroke: colour, "stroke-opacity": 0.8, ...more });
  picture.append(
    line(x(first), y, x(spread.q1), y), line(x(spread.q3), y, x(last), y),
    line(x(first), y - half / 2, x(first), y + half / 2), line(x(last), y - half / 2, x(last), y + half / 2),
    svg("rect", { x: x(spread.q1), y: y - half, width: Math.max(1, x(spread.q3) - x(spread.q1)), height: 2 * half, rx: 2, fill: colour, "fill-opacity": 0.16, stroke: colour, "stroke-opacity": 0.8 }),
    line(x(spread.median), y - half, x(spread.median), y + half, { "stroke-width": 2.5, "stroke-opacity": 1 }));
  const under = y + half + 4;
  if (spread.low !== null) picture.append(line(x(spread.low), under, x(spread.high), under, { stroke: "#ececee", "stroke-opacity": 0.9 }));
  picture.append(svg("path", { d: `M${x(spread.mean) - 4} ${under}l4 -4 4 4 -4 4z`, fill: "#ececee" }));
}

function linear(low, high, from, to) {
  return (value) => from + ((value - low) / (high - low || 1)) * (to - from);
}

/** Round numbers between two ends, about `count` of them. */
function ticks(low, high, count) {
  const raw = (high - low) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= raw * 0.999);
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9); at * step <= high + step * 1e-9; at++) found.push(at * step);
  return found.map((value) => ({ value, text: num(value, Math.max(0, -Math.floor(Math.log10(step) + 1e-9))) }));
}

function logTicks(low, high) {
  const found = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
    for (const factor of [1, 2, 5]) {
      const value = factor * 10 ** power;
      if (value >= low && value <= high) found.push({ value, text: String(Number(value.toPrecision(1))) });
    }
  }
  return found.length ? found : [{ value: low, text: amount(low) }];
}

function xAxis(picture, x, low, high, bottom, name, from, to, marks = ticks(low, high, (to - from) / 75)) {
  for (const { value, text } of marks) {
    picture.append(svg("line", { class: "grid", x1: x(value), x2: x(value), y1: 4, y2: bottom }), svg("text", { x: x(value), y: bottom + 13, "text-anchor": "middle", text }));
  }
  picture.append(svg("line", { class: "axis", x1: from, x2: to, y1: bottom, y2: bottom }),
    svg("text", { x: (from + to) / 2, y: bottom + 26, "text-anchor": "middle", text: name }));
}

/** An empty plot with both axes and their scales. */
function frame(width, [x0, x1], [y0, y1], xName, yName, { log = false } = {}) {
  const height = Math.round(Math.min(340, Math.max(240, width * 0.72)));
  const [from, to, top, bottom] = [58, width - 12, 10, height - 34];
  const onLine = linear(log ? Math.log(x0) : x0, log ? Math.log(x1) : x1, from, to);
  const x = log ? (value) => onLine(Math.log(value)) : onLine;
  const y = linear(y0, y1, bottom, top);
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": `${yName} against ${xName}` });
  xAxis(picture, x, x0, x1, bottom, xName, from, to, log ? logTicks(x0, x1) : undefined);
  for (const { value, text } of ticks(y0, y1, (bottom - top) / 45)) {
    picture.append(svg("line", { class: "grid", x1: from, x2: to, y1: y(value), y2: y(value) }), svg("text", { x: from - 7, y: y(value) + 4, "text-anchor": "end", text }));
  }
  picture.append(svg("line", { class: "axis", x1: from, x2: from, y1: top, y2: bottom }),
    svg("text", { transform: `translate(13 ${(top + bottom) / 2}) rotate(-90)`, "text-anchor": "middle", text: yName }));
  return { picture, x, y };
}
