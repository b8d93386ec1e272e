// Every study and label in rows: sorted, filtered, and a way into the viewer.

const FIRST_ROWS = 400; // more take a browser a noticeable while

const STUDY_COLUMNS = [
  { key: "study_id", name: "study", text: true },
  { key: "label", name: "label", text: true },
  { key: "dice", name: "Dice", show: (row) => scoreCell(row.dice) },
  { key: "iou", name: "IoU", show: (row) => num(row.iou) },
  { key: "hd95_mm", name: "HD95 mm", show: (row) => amount(row.hd95_mm), worst: "high" },
  { key: "nsd", name: "NSD", show: (row) => num(row.nsd) },
  { key: "lesion_f1", name: "lesion F1", show: (row) => num(row.lesion_f1) },
  { key: "reference_ml", name: "reference ml", show: (row) => amount(row.reference_ml), worst: "high" },
  { key: "segmentation_ml", name: "segmentation ml", show: (row) => amount(row.segmentation_ml), worst: "high" },
  { key: "difference", name: "difference ml", show: (row) => signed(row.difference), worst: "far" },
  { key: "empty", name: "empty", text: true, show: (row) => emptyFlag(row.empty) },
];

function scoreCell(score) {
  return el("span", { class: "score" }, num(score), bar(score));
}

/** A score as a bar, with the ends of an interval if there is one. */
function bar(score, low = null, high = null) {
  const share = (value) => `${Math.min(1, Math.max(0, value)) * 100}%`;
  const shown = score ?? 0;
  const interval = low === null || high === null ? null : el("em", { style: { left: share(low), width: share(high - low) } });
  return el("span", { class: "bar", "aria-hidden": "true" }, el("i", { style: { width: share(shown), background: quality(shown) } }), interval);
}

function emptyFlag(empty) {
  if (!empty) return "";
  const text = { both: "in neither", reference: "not in the reference", segmentation: "not in the segmentation" }[empty];
  return el("span", { class: empty === "both" ? "flag" : "flag warn", text });
}

class StudyTable {
  constructor({ onOpen }) {
    this.onOpen = onOpen;
    this.numbers = new Map(DATA.studies.map((study, number) => [study.id, number]));
    this.rows = [...ROWS.map((row) => ({ ...row, difference: row.segmentation_ml - row.reference_ml })), ...this.unscored()];
    this.columns = STUDY_COLUMNS.filter((column) => column.text || this.rows.some((row) => row[column.key] !== null && row[column.key] !== undefined));
    this.sorted = { key: "dice", down: false };
    this.limit = FIRST_ROWS;
    this.build();
  }

  /** Studies with pictures but without scores. */
  unscored() {
    const scored = new Set(ROWS.map((row) => row.study_id));
    return DATA.studies.filter((study) => !scored.has(study.id)).map((study) => ({ study_id: study.id, label: "not scored", index: 0, dice: null, empty: "" }));
  }

  build() {
    this.search = el("input", { type: "search", placeholder: "find a study", "aria-label": "find a study", oninput: debounced(() => this.fill(), 120) });
    this.label = el("select", { "aria-label": "label", onchange: () => this.fill() }, el("option", { value: "", text: "all labels" }),
      ...DATA.classes.map((name) => el("option", { value: name, text: name })));
    this.count = el("span", { class: "quiet" });
    this.controls = el("div", { class: "controls" }, this.count, this.label, this.search);
    this.heads = this.columns.map((column) =>
      el("th", { class: column.text ? null : "number", scope: "col" }, el("button", { type: "button", text: column.name, onclick: () => this.sort(column) })));
    this.body = el("tbody");
    this.more = el("div", { class: "message", hidden: true });
    this.root = el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "studies" },
      el("table", { id: "studies" }, el("thead", {}, el("tr", {}, ...this.heads)), this.body), this.more);
    this.fill();
  }

  sort({ key, text, worst }) {
    const first = !text && worst !== undefined; // distances begin with the largest, scores and names with the smallest
    this.sorted = { key, down: this.sorted.key === key ? !this.sorted.down : first };
    this.fill();
  }

  chosen() {
    const { key, down } = this.sorted;
    const column = this.columns.find((one) => one.key === key);
    const value = (row) => (column?.worst === "far" && typeof row[key] === "number" ? Math.abs(row[key]) : row[key]);
    const undefinedLast = (row) => (value(row) === null || value(row) === undefined || value(row) === "" || Number.isNaN(value(row)) ? 1 : 0);
    const words = this.search.value.trim().toLowerCase();
    const rows = this.rows.filter((row) => (!this.label.value || row.label === this.label.value) && row.study_id.toLowerCase().includes(words));
    const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b, undefined, { numeric: true }) : a - b);
    return rows.sort((a, b) => undefinedLast(a) - undefinedLast(b) || (undefinedLast(a) ? 0 : compare(value(a), value(b)) * (down ? -1 : 1)) || a.study_id.localeCompare(b.study_id) || a.index - b.index);
  }

  fill() {
    const rows = this.chosen();
    this.count.textContent = rows.length === 1 ? "1 row" : `${rows.length} rows`;
    this.columns.forEach((column, index) => {
      if (column.key === this.sorted.key) this.heads[index].setAttribute("aria-sort", this.sorted.down ? "descending" : "ascending");
      else this.heads[index].removeAttribute("aria-sort");
    });
    this.body.replaceChildren(...rows.slice(0, this.limit).map((row) => this.row(row)));
    this.more.hidden = rows.length <= this.limit;
    this.more.replaceChildren(el("button", { class: "button", type: "button", text: `show all ${rows.length} rows`, onclick: () => { this.limit = Infinity; this.fill(); } }));
    this.mark(this.current);
  }

  row(row) {
    const number = this.numbers.get(row.study_id);
    const opens = number !== undefined;
    const cells = this.columns.map((column) => {
      if (column.key === "study_id") return el("td", { class: "name" }, opens ? el("button", { type: "button", text: row.study_id }) : row.study_id);
      if (column.key === "label") return el("td", {}, el("span", { class: "label-cell" }, el("span", { class: "swatch", style: { background: COLOUR(row.index) } }), row.label));
      const content = row.index || column.key === "empty" ? column.show(row) : "–";
      return el("td", { class: column.text ? null : "number" }, content);
    });
    return el("tr", { class: opens ? "open" : null, "data-study": row.study_id, onclick: opens ? () => this.onOpen(number, row.index) : null }, ...cells);
  }

  mark(studyId) {
    this.current = studyId;
    for (const row of this.body.rows) row.classList.toggle("current", row.dataset.study === studyId);
  }
}
