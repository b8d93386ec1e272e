// Elements, numbers and the page's data. Text always goes in as text, so a name cannot become markup.

const DATA = JSON.parse(document.getElementById("data").textContent);

/** Make an HTML element: properties ("text", "class", "on" handlers, attributes), then children. */
function el(tag, properties = {}, ...children) {
  return fill(document.createElement(tag), properties, children);
}

function svg(tag, properties = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), properties, children);
}

function fill(node, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "text") node.textContent = value;
    else if (name === "style") Object.assign(node.style, value);
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** A number as people read it: "–" where undefined, a true minus sign. */
function num(value, digits = 3) {
  if (value === null || value === undefined) return "–";
  return value.toFixed(digits).replace("-", "−");
}

/** As many digits as a volume or a distance needs. */
function amount(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  return num(value, size >= 100 ? 0 : size >= 10 ? 1 : 2);
}

function signed(value) {
  return value > 0 ? `+${amount(value)}` : amount(value);
}

function debounced(action, wait) {
  let timer = 0;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => action(...values), wait);
  };
}

/** Rows as objects, each with its place among the classes. */
const ROWS = DATA.rows.map((values) => {
  const row = Object.fromEntries(DATA.columns.map((column, index) => [column, values[index]]));
  return { ...row, index: DATA.classes.indexOf(row.label) + 1 };
});

const COLOUR = (index) => (index > 0 ? DATA.colours[(index - 1) % DATA.colours.length] : "#9a9ca5");
const CLASS_NAME = (index) => (index === 0 ? "background" : index === 255 ? "ignored" : DATA.classes[index - 1] ?? `class ${index}`);

/** Green, yellow, orange or red, for a score between 0 and 1. */
function quality(score) {
  return score >= 0.85 ? "var(--good)" : score >= 0.7 ? "var(--fair)" : score >= 0.4 ? "var(--poor)" : "var(--bad)";
}
