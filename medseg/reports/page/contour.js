// Outlines of label maps by marching squares, linked into lines so that they can be dashed.

// Sides of a cell that a line enters and leaves by (0 top, 1 right, 2 bottom, 3 left), by which corners are inside
// (1 top left, 2 top right, 4 bottom right, 8 bottom left). The inside is always on the line's left.
const CELL_LINES = [
  [], [[3, 0]], [[0, 1]], [[3, 1]], [[1, 2]], [[3, 0], [1, 2]], [[0, 2]], [[3, 2]],
  [[2, 3]], [[2, 0]], [[0, 1], [2, 3]], [[2, 1]], [[1, 3]], [[1, 0]], [[0, 3]], [],
];

/**
 * Trace every class of a slice.
 * @param {Uint8Array} labels width * height class indices, row by row
 * @returns {Map<number, Float32Array[]>} class -> closed lines of x, y pairs, where pixel (i, j) spans i to i + 1
 */
function traceClasses(labels, width, height) {
  const boxes = new Map();
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at++) {
      const value = labels[at];
      if (value === 0 || value === 255) continue;
      const box = boxes.get(value);
      if (!box) boxes.set(value, [x, y, x, y]);
      else {
        if (x < box[0]) box[0] = x;
        if (x > box[2]) box[2] = x;
        box[3] = y;
      }
    }
  }
  const lines = new Map();
  for (const [value, box] of boxes) lines.set(value, traceOne(labels, width, height, value, box));
  return lines;
}

function traceOne(labels, width, height, value, [left, top, right, bottom]) {
  const inside = (x, y) => x >= 0 && y >= 0 && x < width && y < height && labels[y * width + x] === value;
  const stride = 2 * width + 4; // a key for every half pixel
  const key = (x, y, side) => {
    const [dx, dy] = [[1, 0], [2, 1], [1, 2], [0, 1]][side];
    return (2 * y + dy + 2) * stride + 2 * x + dx + 2;
  };
  const next = new Map();
  for (let y = top - 1; y <= bottom; y++) {
    for (let x = left - 1; x <= right; x++) {
      const corners = inside(x, y) + 2 * inside(x + 1, y) + 4 * inside(x + 1, y + 1) + 8 * inside(x, y + 1);
      for (const [from, to] of CELL_LINES[corners]) next.set(key(x, y, from), key(x, y, to));
    }
  }
  const lines = [];
  for (const start of next.keys()) {
    if (!next.has(start)) continue;
    const line = [];
    for (let at = start; next.has(at); ) {
      line.push(((at % stride) - 2) / 2 + 0.5, (Math.floor(at / stride) - 2) / 2 + 0.5);
      const to = next.get(at);
      next.delete(at);
      at = to;
    }
    lines.push(Float32Array.from(line));
  }
  return lines;
}
