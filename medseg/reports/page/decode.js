// From the pictures in the page back to volumes. A volume's voxel (x, y, z) counts R, A and S upwards.

const HU = Float32Array.from({ length: 256 }, (_, code) => {
  const knots = DATA.knots;
  const upper = Math.max(1, knots.findIndex((knot) => knot[1] >= code));
  const [low, high] = [knots[upper - 1], knots[upper]];
  return low[0] + ((high[0] - low[0]) * (code - low[1])) / (high[1] - low[1]);
});

/** Read the study of an element: its JSON, the image as codes, and both label maps. */
async function readStudy(element) {
  const study = JSON.parse(document.getElementById(element).textContent);
  const [image, labels] = await Promise.all([unpack(study.image, 1), unpack(study.labels, 2)]);
  return {
    ...study,
    image: { ...study.image, src: null, codes: image[0] },
    labels: { ...study.labels, src: null, reference: labels[0], segmentation: labels[1] },
  };
}

/** The mosaic's channels (red, green) as arrays in x, y, z order. */
async function unpack({ src, columns, shape: [nx, ny, nz] }, channels) {
  const picture = new Image();
  picture.src = src;
  await picture.decode();
  const volumes = Array.from({ length: channels }, () => new Uint8Array(nx * ny * nz));
  const canvas = el("canvas", { width: nx * columns, height: ny });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  for (let row = 0; row * columns < nz; row++) {
    context.drawImage(picture, 0, -row * ny); // one row of tiles at a time: a phone's memory is small
    const pixels = context.getImageData(0, 0, canvas.width, ny).data;
    for (let column = 0; column < columns && row * columns + column < nz; column++) {
      const start = (row * columns + column) * nx * ny;
      for (let y = 0; y < ny; y++) {
        let from = (y * canvas.width + column * nx) * 4;
        for (let to = start + y * nx, end = to + nx; to < end; to++, from += 4) {
          volumes[0][to] = pixels[from];
          if (channels > 1) volumes[1][to] = pixels[from + 1];
        }
      }
    }
  }
  return volumes;
}
