// The page from top to bottom: summary, labels, viewer, studies, plots. One study is chosen in all of them.

const MOST_TILES = 6;

function open(number, label = 0) {
  const { id } = DATA.studies[number];
  table.mark(id);
  plots.mark(id);
  viewer.open(number, label);
}

function openAndShow(number, label) {
  open(number, label);
  viewer.root.scrollIntoView({ block: "nearest" });
}

const viewer = new Viewer({ onOpen: open });
const table = new StudyTable({ onOpen: openAndShow });
const plots = new Plots({ onOpen: openAndShow });

function summary() {
  const facts = DATA.facts.map(([name, value]) => el("span", {}, name, el("b", { text: value })));
  return el("section", { id: "summary" }, el("h1", { text: DATA.title }), el("div", { class: "facts" }, ...facts), el("div", { class: "tiles" }, ...tiles()));
}

function tiles() {
  const { overall, failures, labels } = DATA;
  const tile = (name, value, more, colour) => el("div", { class: "tile" },
    el("div", { class: "name", title: name }, colour ? el("span", { class: "swatch", style: { background: colour } }) : null, name), el("div", { class: "value", text: value }), el("div", { class: "more", text: more }));
  const failed = failures.length ? `${failures.length} failed` : "none failed";
  const scored = overall.n || !DATA.studies.length;
  const found = [scored ? tile("studies scored", String(overall.n), failed) : tile("studies", String(DATA.studies.length), failed)];
  if (labels.length > MOST_TILES) found.push(manyLabels(tile));
  else labels.forEach(({ label, spreads: { dice } }) => {
    const interval = dice.low === null ? `${dice.n} ${dice.n === 1 ? "study" : "studies"}` : `${num(dice.low)} – ${num(dice.high)} (95 %)`;
    found.push(tile(`Dice ${label}`, num(dice.mean), interval, COLOUR(DATA.classes.indexOf(label) + 1)));
  });
  if (overall.n) found.push(tile("mean IoU, foreground", num(overall.miou_foreground), `with background ${num(overall.miou)}, accuracy ${num(overall.accuracy)}`));
  return found;
}

function manyLabels(tile) {
  const means = DATA.labels.map(({ label, spreads: { dice } }) => [dice.mean, label]).filter(([mean]) => mean !== null).sort(([a], [b]) => a - b);
  if (!means.length) return tile("mean Dice", "–", "undefined for every label");
  const mean = means.reduce((sum, [value]) => sum + value, 0) / means.length;
  return tile(`mean Dice of ${means.length} labels`, num(mean), `lowest ${num(means[0][0])}: ${means[0][1]}`);
}

function failures() {
  if (!DATA.failures.length) return null;
  const lines = DATA.failures.map(([id, reason]) => el("li", {}, el("b", { text: id }), `: ${reason}`));
  return el("section", { class: "alert", id: "failures" }, el("h2", { text: `Not scored: ${lines.length} ${lines.length === 1 ? "study" : "studies"}` }), el("ul", {}, ...lines));
}

function labels() {
  if (!DATA.labels.length) return null;
  const spread = (summary, key) => summary.spreads[key];
  const has = (key) => DATA.labels.some((summary) => (spread(summary, key)?.n ?? 0) > 0);
  const median = (of, digits) => (of && of.n ? `${digits(of.median)} (${digits(of.q1)} – ${digits(of.q3)})` : "–");
  const columns = [
    ["n", (s) => (s.spreads.dice.n === s.n ? String(s.n) : `${s.spreads.dice.n} of ${s.n}`)],
    ["mean Dice", ({ spreads: { dice } }) => el("span", { class: "score" }, el("b", { text: num(dice.mean) }), bar(dice.mean, dice.low, dice.high))],
    ["95 % interval", ({ spreads: { dice } }) => (dice.low === null ? "–" : `${num(dice.low)} – ${num(dice.high)}`)],
    ["median (quartiles)", (s) => median(s.spreads.dice, num)],
    ["pooled IoU", (s) => num(s.dataset_iou)],
    ...(has("hd95_mm") ? [["HD95 mm, median (quartiles)", (s) => median(s.spreads.hd95_mm, amount)]] : []),
    ...(has("nsd") ? [["mean NSD", (s) => num(s.spreads.nsd.mean)]] : []),
    ...(has("lesion_f1") ? [["lesion F1", (s) => num(s.spreads.lesion_f1?.mean)]] : []),
    ["empty", emptyCounts],
  ];
  const head = el("tr", {}, el("th", { scope: "col" }, el("span", { text: "label" })),
    ...columns.map(([name]) => el("th", { scope: "col", class: name === "empty" ? null : "number" }, el("span", { text: name }))));
  const rows = DATA.labels.map((one) => el("tr", { class: "open", title: "show in the plots below", onclick: () => plots.choose(one.label) },
    el("td", {}, el("span", { class: "label-cell" }, el("span", { class: "swatch", style: { background: COLOUR(DATA.classes.indexOf(one.label) + 1) } }), one.label)),
    ...columns.map(([name, show]) => el("td", { class: name === "empty" ? null : "number" }, show(one)))));
  return el("section", { id: "labels" }, el("header", {}, el("h2", { text: "Labels" })),
    el("div", { class: "scroll short", tabindex: 0, role: "region", "aria-label": "labels" }, el("table", {}, el("thead", {}, head), el("tbody", {}, ...rows))));
}

function emptyCounts({ n_empty_both: both, n_empty_reference: extra, n_empty_segmentation: missed }) {
  const parts = [[missed, "missed altogether"], [extra, "only in the segmentation"], [both, "in neither"]].filter(([count]) => count);
  return el("span", { class: "quiet", text: parts.map(([count, what]) => `${count} ${what}`).join(", ") || "–" });
}

function section(id, heading, content, ...controls) {
  return el("section", { id }, el("header", {}, el("h2", { text: heading }), el("span", { class: "grow" }), ...controls), content);
}

function navigation(sections) {
  const go = (target) => target.scrollIntoView({ block: "start" });
  return el("nav", { "aria-label": "sections" }, ...sections.map(([name, target]) => el("button", { type: "button", text: name, onclick: () => go(target) })));
}

/** The page of a single study: the way back, its viewer and its rows. */
function alone() {
  const head = el("header", {}, el("a", { class: "button", href: DATA.alone.home, text: "‹ report" }));
  return el("main", {}, el("section", {}, head, viewer.root), ROWS.length ? section("scores", "Scores", table.root) : null);
}

function whole() {
  const shown = DATA.studies.length > 0;
  const parts = [
    ["Summary", summary()], ["Failures", failures()], ["Labels", labels()],
    ["Viewer", shown ? el("section", {}, viewer.root) : null],
    ["Studies", shown || ROWS.length ? section("table", "Studies", table.root, table.controls) : null],
    ["Plots", ROWS.length ? section("plots", "Scores and volumes", el("div", {}, plots.boxes, el("div", { class: "controls", style: { margin: "14px 0 10px" } }, el("span", { class: "quiet", text: "volumes of" }), plots.select), plots.scatters)) : null],
  ].filter(([, part]) => part);
  return [navigation(parts), el("main", {}, ...parts.map(([, part]) => part))];
}

document.getElementById("page").replaceWith(...(DATA.alone ? [alone()] : whole()));
if (DATA.studies.length) open(Math.max(0, DATA.studies.findIndex((study) => study.block)));
