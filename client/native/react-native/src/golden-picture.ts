/** Golden pictures, for which every device must compute the vectors that an encoder's manifest records. */

/** RGB, three bytes a pixel, row after row. */
export interface Pixels {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array;
}

/** Width and height of each golden picture. */
export const GOLDEN_SIZES: Readonly<Record<string, readonly [number, number]>> = {
  large: [1400, 1050],
  thin: [333, 149],
  small: [90, 120],
};

/** Draw a golden picture by name. Throws RangeError if this version does not know it. */
export function drawGoldenPicture(name: string): Pixels {
  const size = GOLDEN_SIZES[name];
  if (!size) throw new RangeError(`The encoder records a vector of an unknown picture, ${name}. Update the app.`);
  return drawGolden(size[0], size[1], 3 + name.length);
}

/** Draw one in any size, by whole-number arithmetic only. The seed moves the sun and colours the roof. */
export function drawGolden(width: number, height: number, seed: number): Pixels {
  const data = new Uint8Array(3 * width * height);
  for (let row = 0, to = 0; row < height; row++) {
    const y = Math.floor((row * 840) / height);
    for (let column = 0; column < width; column++, to += 3) {
      data.set(colourAt(Math.floor((column * 840) / width), y, seed), to);
    }
  }
  return { width, height, data };
}

/** What is drawn last covers what was drawn before, so it is asked for first. */
function colourAt(x: number, y: number, seed: number): readonly [number, number, number] {
  if (Math.abs((x - 690) ** 2 + (y - 600) ** 2 - 110 ** 2) < 3500) return [30, 40, 160];
  if (y >= 770) return [74, 128, 66];
  if (x > 280 && x < 370 && y > 560 && y < 770) return [38, 62, 48];
  if (y > 190 && y <= 330 && Math.abs(x - 325) < (y - 190) * 2) return [70, 58 + seed, 84];
  if (x > 90 && x < 560 && y > 330 && y < 770) {
    const isMortar = y % 48 < 5 || (x + (Math.floor(y / 48) % 2) * 40) % 80 < 5;
    return isMortar ? [222, 208, 190] : [176, 92, 58];
  }
  if ((x - 610) ** 2 + (y - 180 - 10 * seed) ** 2 < (70 + 4 * seed) ** 2) return [250, 214, 80];
  return [90 + Math.floor(y / 8), 120 + Math.floor((x + y) / 16), 230 - Math.floor(y / 6)];
}
