// Three planes of one study. Positions are millimetres from the box's right, posterior, inferior corner along R, A, S.

// Like scene.VIEWS: what is cut across, what runs along columns and rows (both shown reversed), letters on the sides.
const PLANES = [
  { name: "axial", axis: 2, columns: 0, rows: 1, sides: ["R", "L", "A", "P"] },
  { name: "coronal", axis: 1, columns: 0, rows: 2, sides: ["R", "L", "S", "I"] },
  { name: "sagittal", axis: 0, columns: 1, rows: 2, sides: ["A", "P", "S", "I"] },
];

const WINDOWS = [
  { name: "training", low: DATA.window[0], high: DATA.window[1] },
  { name: "liver", low: -15, high: 135 },
  { name: "soft tissue", low: -160, high: 240 },
  { name: "lung", low: -1350, high: 150 },
  { name: "bone", low: -500, high: 1500 },
];

const PAGE_SLICES = 5;
const RGB = (hex) => [1, 3, 5].map((start) => parseInt(hex.slice(start, start + 2), 16));
const TINTS = Object.fromEntries(Object.entries(DATA.tints).map(([name, colour]) => [name, RGB(colour)]));

class Viewer {
  constructor({ onOpen }) {
    this.onOpen = onOpen;
    this.study = null;
    this.asked = 0;
    this.look = { low: WINDOWS[0].low, high: WINDOWS[0].high, opacity: 0.75, contours: true, tint: "errors", main: 0 };
    this.hidden = new Set();
    this.label = 0;
    this.build();
  }

  build() {
    const toggle = (text, title, press) => el("button", { class: "button", type: "button", text, title, onclick: press });
    this.heading = el("h2", { "aria-live": "polite" });
    this.sub = el("span", { class: "quiet" });
    this.previous = toggle("‹ worse", "previous study (P)", () => this.step(-1));
    this.next = toggle("better ›", "next study (N)", () => this.step(1));
    this.presets = WINDOWS.map((preset, index) =>
      toggle(preset.name, `${preset.low} to ${preset.high} HU (${index + 1})`, () => this.setWindow(preset.low, preset.high)));
    this.windowText = el("span", { class: "window-text", title: "drag in a picture: left and right widens, up and down shifts" });
    this.tints = { errors: toggle("errors", "tint what is wrong (E)", () => this.setTint("errors")),
      labels: toggle("labels", "fill the segmentation (F)", () => this.setTint("labels")) };
    this.contourButton = toggle("contours", "outline reference and segmentation (C)", () => this.set({ contours: !this.look.contours }));
    this.opacity = el("input", { type: "range", min: 0, max: 100, value: this.look.opacity * 100, "aria-label": "opacity of contours and tints",
      oninput: () => this.set({ opacity: this.opacity.value / 100 }) });
    this.worst = toggle("worst slices", "in each plane the slice with the most wrong voxels (W)", () => this.goWorst());
    this.planes = PLANES.map((plane, index) => this.buildPlane(plane, index));
    this.readout = el("div", { class: "readout", role: "status" });
    this.chips = el("div", { class: "chips", role: "group", "aria-label": "classes shown" });
    this.legend = el("div", { class: "legend" });
    this.message = el("div", { class: "message", hidden: true });
    this.grid = el("div", { class: "planes" }, ...this.planes.map((plane) => plane.root));
    this.tools = el("div", { class: "bars" },
      el("div", { class: "group", role: "group", "aria-label": "window" }, ...this.presets), this.windowText,
      el("div", { class: "group", role: "group", "aria-label": "overlay" }, this.contourButton, this.tints.errors, this.tints.labels),
      el("label", { class: "slider" }, el("span", { text: "opacity" }), this.opacity), this.worst);
    this.foot = el("div", { class: "under" }, this.readout, this.legend);
    this.root = el("div", { class: "viewer", id: "viewer", onkeydown: (event) => this.onKey(event) },
      el("div", { class: "head" }, this.heading, this.sub, el("span", { class: "grow" }),
        el("div", { class: "group" }, this.previous, this.next)),
      this.tools, this.message, this.grid, this.foot,
      el("div", { class: "under" }, this.chips), keyHelp());
    this.drawButtons();
  }

  buildPlane(plane, index) {
    const canvas = el("canvas", { class: "picture" });
    const caption = el("div", { class: "caption" });
    const counter = el("div", { class: "counter" });
    const stage = el("div", { class: "stage", tabindex: 0, role: "slider", "aria-label": `${plane.name} slice`, "aria-orientation": "vertical" }, canvas, caption, counter);
    const profile = el("canvas");
    const range = el("input", { type: "range", min: 0, max: 0, value: 0, tabindex: -1, "aria-label": `${plane.name} slice`,
      oninput: () => this.goSlice(plane.axis, Number(range.value)) });
    const enlarge = el("button", { class: "enlarge", type: "button", text: "⤢", title: `enlarge the ${plane.name} plane`,
      "aria-label": `enlarge the ${plane.name} plane`, onclick: () => this.set({ main: index }) });
    const root = el("div", { class: "plane", "data-plane": plane.name }, stage, el("div", { class: "track" }, profile, range), enlarge);
    const view = { ...plane, root, stage, canvas, caption, counter, profile, range, scratch: el("canvas"), layer: el("canvas"), cache: null, wheel: 0 };
    stage.addEventListener("wheel", (event) => this.onWheel(view, event), { passive: false });
    stage.addEventListener("keydown", (event) => this.onPlaneKey(view, event));
    canvas.addEventListener("pointerdown", (event) => this.onDown(view, event));
    canvas.addEventListener("pointermove", (event) => this.onMove(view, event));
    canvas.addEventListener("pointerup", (event) => this.onUp(view, event));
    canvas.addEventListener("pointercancel", () => (this.drag = null));
    canvas.addEventListener("pointerleave", () => this.tell(this.position));
    new ResizeObserver(() => this.draw()).observe(stage);
    return view;
  }

  /** Show a study; only now are its pictures decoded. `label` (class index) says which errors to look at. */
  async open(number, label = 0) {
    const entry = DATA.studies[number];
    const same = this.number === number && this.study;
    this.number = number;
    this.label = label;
    this.heading.textContent = entry.id;
    this.sub.textContent = [entry.dice === null ? "" : `mean Dice ${num(entry.dice)}`, place(number), DATA.notes[entry.id]].filter(Boolean).join("  ·  ");
    this.previous.disabled = !DATA.alone?.previous && this.neighbour(-1) === null;
    this.next.disabled = !DATA.alone?.next && this.neighbour(1) === null;
    const asked = ++this.asked;
    if (!entry.block) return this.refuse(entry);
    if (same) return this.goWorst();
    try {
      const study = await readStudy(entry.block);
      if (asked !== this.asked) return undefined; // another was chosen meanwhile
      this.show(study, entry);
    } catch (error) {
      this.refuse({ ...entry, problem: `its pictures cannot be decoded (${error.message || error})` });
    }
    return undefined;
  }

  show(study, entry) {
    this.study = study;
    this.extent = study.shape.map((size, axis) => size * study.spacing[axis]);
    this.cell = study.labels.step.map((step, axis) => step * study.spacing[axis]);
    this.hidden.clear();
    this.message.hidden = true;
    this.grid.hidden = this.foot.hidden = this.tools.hidden = this.chips.hidden = false;
    this.worst.hidden = this.tints.errors.hidden = !study.reference;
    if (!study.reference && this.look.tint === "errors") this.look.tint = "";
    for (const view of this.planes) view.cache = null;
    this.fillChips(entry);
    this.fillLegend();
    this.goWorst();
    this.root.dataset.ready = entry.id;
  }

  refuse(entry) {
    this.study = null;
    this.message.hidden = false;
    this.grid.hidden = this.foot.hidden = this.tools.hidden = this.chips.hidden = true;
    const link = entry.page ? [el("a", { href: entry.page, text: "this study's own page" })] : [];
    const why = entry.problem ?? (entry.page ? "its pictures are on " : "this report has none of it");
    this.message.replaceChildren(entry.problem ? `No pictures: ${why} ` : why, ...link);
    this.root.dataset.ready = entry.id;
  }

  fillChips(entry) {
    const dice = new Map(ROWS.filter((row) => row.study_id === entry.id).map((row) => [row.index, row.dice]));
    const chips = this.study.present.map((index) => {
      const score = dice.has(index) && dice.get(index) !== null ? `  ${num(dice.get(index))}` : "";
      const chip = el("button", { class: "chip", type: "button", "aria-pressed": "true", title: "show or hide",
        onclick: () => {
          if (!this.hidden.delete(index)) this.hidden.add(index);
          chip.setAttribute("aria-pressed", String(!this.hidden.has(index)));
          this.draw();
        } }, el("span", { class: "swatch", style: { background: COLOUR(index) } }), el("span", { text: CLASS_NAME(index) + score }));
      return chip;
    });
    this.chips.replaceChildren(...chips);
  }

  fillLegend() {
    const line = (text, kind) => el("span", {}, el("i", { class: `stroke ${kind}` }), text);
    const patch = (text, colour) => el("span", {}, el("i", { class: "swatch", style: { background: colour } }), text);
    const { missed, extra, confused } = DATA.tints;
    this.legend.replaceChildren(...(this.study.reference
      ? [line("reference", ""), line("segmentation", "dashed"), patch("missed", missed), patch("extra", extra),
        ...(DATA.classes.length > 1 ? [patch("other label", confused)] : [])]
      : [line("segmentation", "")]));
  }

  neighbour(step) {
    for (let at = this.number + step; at >= 0 && at < DATA.studies.length; at += step) if (DATA.studies[at].block) return at;
    return null;
  }

  step(direction) {
    const page = direction < 0 ? DATA.alone?.previous : DATA.alone?.next;
    if (page) location.href = page;
    const other = this.neighbour(direction);
    if (other !== null) this.onOpen(other, this.label);
  }

  set(changes) {
    Object.assign(this.look, changes);
    this.draw();
  }

  setWindow(low, high) {
    this.set({ low, high });
  }

  setTint(tint) {
    this.set({ tint: this.look.tint === tint ? "" : tint });
  }

  slices(axis) {
    return this.study.labels.shape[axis];
  }

  slice(axis) {
    return Math.min(this.slices(axis) - 1, Math.max(0, Math.floor(this.position[axis] / this.cell[axis])));
  }

  goSlice(axis, index) {
    const clipped = Math.min(this.slices(axis) - 1, Math.max(0, index));
    this.position[axis] = Math.min(this.extent[axis] - 1e-3, (clipped + 0.5) * this.cell[axis]);
    this.draw();
    this.tell(this.position);
  }

  /** To the slices with the most wrong voxels (of the chosen label), else through the middle of the segmentation. */
  goWorst() {
    if (!this.study) return;
    const { worst, spacing } = this.study;
    const voxel = worst[this.label] ?? worst[0];
    this.position = voxel ? voxel.map((index, axis) => (index + 0.5) * spacing[axis]) : this.middle();
    this.draw();
    this.tell(this.position);
  }

  middle() {
    const { shape: [nx, ny, nz], segmentation } = this.study.labels;
    const areas = [new Uint32Array(nx), new Uint32Array(ny), new Uint32Array(nz)];
    for (let z = 0, at = 0; z < nz; z++) for (let y = 0; y < ny; y++) for (let x = 0; x < nx; x++, at++) {
      if (segmentation[at]) areas[0][x]++, areas[1][y]++, areas[2][z]++;
    }
    return areas.map((counts, axis) => {
      const most = counts.reduce((best, count, index) => (count > counts[best] ? index : best), 0);
      return counts[most] ? (most + 0.5) * this.cell[axis] : this.extent[axis] / 2;
    });
  }

  // Drawing -----------------------------------------------------------------------------------------------------------

  draw() {
    this.drawButtons();
    if (!this.study || this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      if (this.study) this.planes.forEach((view, index) => this.drawPlane(view, index));
    });
  }

  drawButtons() {
    const { low, high, contours, tint } = this.look;
    this.presets.forEach((button, index) =>
      button.setAttribute("aria-pressed", String(WINDOWS[index].low === low && WINDOWS[index].high === high)));
    this.contourButton.setAttribute("aria-pressed", String(contours));
    for (const [name, button] of Object.entries(this.tints)) button.setAttribute("aria-pressed", String(tint === name));
    this.windowText.textContent = `${num(low, 0)} to ${num(high, 0)} HU`;
  }

  drawPlane(view, index) {
    view.root.classList.toggle("main", this.look.main === index);
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [view.stage.clientWidth, view.stage.clientHeight];
    if (!width || !height) return;
    if (view.canvas.width !== Math.round(width * ratio) || view.canvas.height !== Math.round(height * ratio)) {
      view.canvas.width = Math.round(width * ratio);
      view.canvas.height = Math.round(height * ratio);
    }
    const context = view.canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.fillStyle = "#000";
    context.fillRect(0, 0, width, height);
    const [wide, high] = [this.extent[view.columns], this.extent[view.rows]];
    const scale = Math.min(width / wide, height / high);
    view.frame = { scale, left: (width - wide * scale) / 2, top: (height - high * scale) / 2, wide: wide * scale, high: high * scale };
    this.drawImage(view, context);
    this.drawTint(view, context);
    this.drawContours(view, context);
    this.drawCrosshair(view, context, width, height);
    this.drawLetters(view, context, width, height);
    this.drawTrack(view);
    const slice = this.slice(view.axis);
    const where = `${"RAS"[view.axis]} ${num(this.world(this.position)[view.axis], 0)} mm`;
    view.caption.textContent = `${view.name}  ${where}`;
    view.counter.textContent = `${slice + 1} / ${this.slices(view.axis)}`;
    const limits = { "aria-valuemin": 1, "aria-valuemax": this.slices(view.axis), "aria-valuenow": slice + 1, "aria-valuetext": `${where}, slice ${slice + 1}` };
    for (const [name, value] of Object.entries(limits)) view.stage.setAttribute(name, value);
  }

  drawImage(view, context) {
    const { shape, codes } = this.study.image;
    const { low, high } = this.look;
    const shades = Uint8ClampedArray.from(HU, (hu) => ((hu - low) / Math.max(1, high - low)) * 255);
    const [columns, rows] = [shape[view.columns], shape[view.rows]];
    const strides = [1, shape[0], shape[0] * shape[1]];
    // between two slices: labels have more of them than the image
    const at = (this.position[view.axis] / this.extent[view.axis]) * shape[view.axis] - 0.5;
    const lower = Math.min(shape[view.axis] - 1, Math.max(0, Math.floor(at)));
    const upper = Math.min(shape[view.axis] - 1, lower + 1);
    const share = Math.min(1, Math.max(0, at - lower));
    const pixels = new ImageData(columns, rows);
    const step = (upper - lower) * strides[view.axis];
    for (let row = 0, to = 0; row < rows; row++) {
      let from = lower * strides[view.axis] + (rows - 1 - row) * strides[view.rows] + (columns - 1) * strides[view.columns];
      for (let column = 0; column < columns; column++, from -= strides[view.columns], to += 4) {
        const shade = shades[codes[from]] * (1 - share) + shades[codes[from + step]] * share;
        pixels.data[to] = pixels.data[to + 1] = pixels.data[to + 2] = shade;
        pixels.data[to + 3] = 255;
      }
    }
    this.paste(view, context, view.scratch, pixels, true);
  }

  /** Both label maps in the slice, as seen: row by row from the top left. */
  labelSlice(view) {
    const slice = this.slice(view.axis);
    if (view.cache?.slice === slice) return view.cache;
    const { shape, reference, segmentation } = this.study.labels;
    const [columns, rows] = [shape[view.columns], shape[view.rows]];
    const strides = [1, shape[0], shape[0] * shape[1]];
    const [truth, found] = [new Uint8Array(columns * rows), new Uint8Array(columns * rows)];
    for (let row = 0, to = 0; row < rows; row++) {
      let from = slice * strides[view.axis] + (rows - 1 - row) * strides[view.rows] + (columns - 1) * strides[view.columns];
      for (let column = 0; column < columns; column++, from -= strides[view.columns], to++) {
        truth[to] = reference[from];
        found[to] = segmentation[from];
      }
    }
    view.cache = { slice, columns, rows, truth, found, lines: [traceClasses(truth, columns, rows), traceClasses(found, columns, rows)] };
    return view.cache;
  }

  drawTint(view, context) {
    if (!this.look.tint) return;
    const { columns, rows, truth, found } = this.labelSlice(view);
    const pixels = new ImageData(columns, rows);
    const paint = (at, [red, green, blue], opacity) => pixels.data.set([red, green, blue, opacity], at * 4);
    const colours = new Map(this.study.present.map((index) => [index, RGB(COLOUR(index))]));
    for (let at = 0; at < truth.length; at++) {
      const [was, is] = [truth[at], found[at]];
      if (this.look.tint === "labels") {
        if (is && is !== 255 && !this.hidden.has(is)) paint(at, colours.get(is) ?? [255, 255, 255], 130);
        continue;
      }
      if (was === is || was === 255 || (this.hidden.has(was) || !was) && (this.hidden.has(is) || !is)) continue;
      paint(at, !is ? TINTS.missed : !was ? TINTS.extra : TINTS.confused, 170);
    }
    context.globalAlpha = this.look.opacity;
    this.paste(view, context, view.layer, pixels, false);
    context.globalAlpha = 1;
  }

  /** Scale pixels into the frame; those of labels may stand a little over the box's end. */
  paste(view, context, canvas, pixels, smooth) {
    canvas.width = pixels.width;
    canvas.height = pixels.height;
    canvas.getContext("2d").putImageData(pixels, 0, 0);
    const { left, top, wide, high } = view.frame;
    const box = smooth ? { left, top, wide, high } : this.labelFrame(view, pixels.width, pixels.height);
    context.imageSmoothingEnabled = smooth;
    context.imageSmoothingQuality = "high";
    context.drawImage(canvas, box.left, box.top, box.wide, box.high);
  }

  labelFrame(view, columns, rows) {
    const { left, top, wide, high, scale } = view.frame;
    const [across, down] = [columns * this.cell[view.columns] * scale, rows * this.cell[view.rows] * scale];
    return { left: left + wide - across, top: top + high - down, wide: across, high: down };
  }

  drawContours(view, context) {
    if (!this.look.contours) return;
    const { columns, rows, lines } = this.labelSlice(view);
    const box = this.labelFrame(view, columns, rows);
    const [sx, sy] = [box.wide / columns, box.high / rows];
    context.globalAlpha = this.look.opacity;
    context.lineJoin = "round";
    lines.forEach((classes, side) => {
      context.setLineDash(side === 1 && this.study.reference ? [5, 3.5] : []);
      context.lineWidth = side === 1 && this.study.reference ? 1.7 : 1.5;
      for (const [index, paths] of classes) {
        if (this.hidden.has(index)) continue;
        context.strokeStyle = COLOUR(index);
        context.beginPath();
        for (const path of paths) {
          context.moveTo(box.left + path[0] * sx, box.top + path[1] * sy);
          for (let at = 2; at < path.length; at += 2) context.lineTo(box.left + path[at] * sx, box.top + path[at + 1] * sy);
          context.closePath();
        }
        context.stroke();
      }
    });
    context.setLineDash([]);
    context.globalAlpha = 1;
  }

  drawCrosshair(view, context, width, height) {
    const { left, top, wide, high, scale } = view.frame;
    const x = left + wide - this.position[view.columns] * scale;
    const y = top + high - this.position[view.rows] * scale;
    context.strokeStyle = "#8ab4ff";
    context.globalAlpha = 0.55;
    context.lineWidth = 1;
    const gap = 9; // the voxel itself stays free
    context.beginPath();
    for (const [x0, y0, x1, y1] of [[0, y, x - gap, y], [x + gap, y, width, y], [x, 0, x, y - gap], [x, y + gap, x, height]]) {
      context.moveTo(x0, y0);
      context.lineTo(x1, y1);
    }
    context.stroke();
    context.globalAlpha = 1;
  }

  drawLetters(view, context, width, height) {
    context.font = "600 13px system-ui, sans-serif";
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillStyle = "#ececee";
    context.strokeStyle = "#000";
    context.lineWidth = 3;
    const [left, right, top, bottom] = view.sides;
    for (const [letter, x, y] of [[left, 12, height / 2], [right, width - 12, height / 2], [top, width / 2, 14], [bottom, width / 2, height - 12]]) {
      context.strokeText(letter, x, y); // readable on bone and on air
      context.fillText(letter, x, y);
    }
  }

  /** Under each plane its slices, with a bar as high as the slice has wrong voxels. */
  drawTrack(view) {
    const { canvas, width, height } = sized(view.profile);
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, width, height);
    const counts = this.study.errors[view.axis];
    const most = Math.max(1, ...counts);
    const each = width / counts.length;
    context.fillStyle = "#ff7a00";
    counts.forEach((count, index) => {
      if (!count) return;
      const bar = Math.max(1.5, (count / most) * (height - 4));
      context.globalAlpha = 0.35 + (0.5 * count) / most;
      context.fillRect(index * each, height - bar, Math.max(1, each - 0.5), bar);
    });
    context.globalAlpha = 1;
    view.range.max = this.slices(view.axis) - 1;
    view.range.value = this.slice(view.axis);
  }

  // Positions ---------------------------------------------------------------------------------------------------------

  world(position) {
    const { affine, spacing } = this.study;
    const voxel = position.map((mm, axis) => mm / spacing[axis] - 0.5);
    return affine.map((row) => row[0] * voxel[0] + row[1] * voxel[1] + row[2] * voxel[2] + row[3]);
  }

  /** Where a pointer is, or null outside the box. */
  under(view, event) {
    const bounds = view.canvas.getBoundingClientRect();
    const { left, top, wide, high, scale } = view.frame;
    const across = (left + wide - (event.clientX - bounds.left)) / scale;
    const down = (top + high - (event.clientY - bounds.top)) / scale;
    if (across < 0 || down < 0 || across >= this.extent[view.columns] || down >= this.extent[view.rows]) return null;
    const position = [...this.position];
    position[view.columns] = across;
    position[view.rows] = down;
    return position;
  }

  voxel({ shape }, cell, position) {
    const [x, y, z] = position.map((mm, axis) => Math.min(shape[axis] - 1, Math.max(0, Math.floor(mm / cell[axis]))));
    return x + shape[0] * (y + shape[1] * z);
  }

  /** One line about a position: millimetres, HU, and what reference and segmentation call it. */
  tell(position) {
    if (!this.study) return;
    const { image, labels, reference } = this.study;
    const hu = HU[image.codes[this.voxel(image, this.extent.map((mm, axis) => mm / image.shape[axis]), position)]];
    const at = this.voxel(labels, this.cell, position);
    const names = [`segmentation: ${CLASS_NAME(labels.segmentation[at])}`];
    if (reference) names.unshift(`reference: ${CLASS_NAME(labels.reference[at])}`);
    const mm = this.world(position).map((value, axis) => `${"RAS"[axis]} ${num(value, 0)}`).join("  ");
    this.readout.textContent = `${mm} mm   ·   about ${num(hu, 0)} HU   ·   ${names.join("   ·   ")}`;
  }

  // Hands -------------------------------------------------------------------------------------------------------------

  onWheel(view, event) {
    if (event.ctrlKey || !this.study) return; // a pinch zooms the page
    event.preventDefault();
    view.wheel += event.deltaY * (event.deltaMode === 1 ? 33 : 1);
    const notch = event.deltaMode === 0 && Math.abs(event.deltaY) < 50 ? 30 : 60; // touch pads send many small steps
    const steps = Math.trunc(view.wheel / notch) || (Math.abs(event.deltaY) >= 50 ? Math.sign(event.deltaY) : 0);
    if (!steps) return;
    view.wheel = 0;
    this.goSlice(view.axis, this.slice(view.axis) - Math.sign(steps) * Math.min(PAGE_SLICES, Math.abs(steps)));
  }

  onPlaneKey(view, event) {
    if (!this.study) return;
    const moves = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: PAGE_SLICES, PageDown: -PAGE_SLICES };
    if (event.key in moves) this.goSlice(view.axis, this.slice(view.axis) + moves[event.key]);
    else if (event.key === "Home") this.goSlice(view.axis, 0);
    else if (event.key === "End") this.goSlice(view.axis, this.slices(view.axis) - 1);
    else return;
    event.preventDefault();
  }

  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("select, input[type=search]")) return;
    const actions = { w: () => this.goWorst(), n: () => this.step(1), p: () => this.step(-1), e: () => this.setTint("errors"),
      f: () => this.setTint("labels"), c: () => this.set({ contours: !this.look.contours }),
      "+": () => this.fade(0.1), "-": () => this.fade(-0.1) };
    const preset = WINDOWS[Number(event.key) - 1];
    const action = preset ? () => this.setWindow(preset.low, preset.high) : actions[event.key.toLowerCase()];
    if (!action) return;
    event.preventDefault();
    action();
  }

  fade(change) {
    const opacity = Math.min(1, Math.max(0, this.look.opacity + change));
    this.opacity.value = opacity * 100;
    this.set({ opacity });
  }

  onDown(view, event) {
    if (!this.study || event.button > 0) return;
    view.stage.focus({ preventScroll: true });
    this.drag = { x: event.clientX, y: event.clientY, low: this.look.low, high: this.look.high, moved: false };
    view.canvas.setPointerCapture(event.pointerId);
  }

  onMove(view, event) {
    if (!this.study) return;
    if (!this.drag) return this.tell(this.under(view, event) ?? this.position);
    const [dx, dy] = [event.clientX - this.drag.x, event.clientY - this.drag.y];
    this.drag.moved ||= Math.hypot(dx, dy) > 4;
    if (!this.drag.moved) return undefined;
    const width = Math.max(10, this.drag.high - this.drag.low + 2 * dx);
    const level = (this.drag.high + this.drag.low) / 2 + dy;
    return this.setWindow(Math.round(level - width / 2), Math.round(level + width / 2));
  }

  onUp(view, event) {
    const clicked = this.drag && !this.drag.moved;
    this.drag = null;
    const position = clicked && this.study ? this.under(view, event) : null;
    if (!position) return;
    this.position = position;
    this.draw();
    this.tell(position);
  }
}

function sized(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.getContext("2d").scale(ratio, ratio);
  return { canvas, width, height };
}

function place(number) {
  return DATA.alone ? DATA.alone.place : DATA.studies.length > 1 ? `${number + 1} of ${DATA.studies.length}${DATA.overall.n ? ", worst first" : ""}` : "";
}

function keyHelp() {
  const keys = [["wheel ↑ ↓ PgUp PgDn Home End", "slices"], ["click", "cross in all planes"], ["drag", "window"], ["1 – 5", "window presets"],
    ["C E F", "contours, errors, labels"], ["+ −", "opacity"], ["W", "worst slices"], ["P N", "previous, next study"]];
  return el("details", { class: "keys" }, el("summary", { text: "Keys and mouse" }),
    el("div", {}, ...keys.map(([key, what]) => el("span", {}, el("kbd", { text: key }), ` ${what}`))));
}
